//! Lets a user act as another, if both may.

use std::{collections::BTreeMap, sync::Arc};

use futures::FutureExt;
use http::HeaderMap;
use kontiki_api::Status;

use super::{Flow, StageFuture};
use crate::{
    authz::Attributes,
    core::Core,
    exchange::Exchange,
    query,
    user::{AUTHENTICATED, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, UserInfo},
};

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";

pub(super) fn run<'a>(core: &'a Arc<Core>, exchange: &'a mut Exchange) -> StageFuture<'a> {
    let outcome = impersonate(core, exchange);
    async { outcome }.boxed()
}

fn texts<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

fn impersonate(core: &Core, exchange: &mut Exchange) -> Result<Flow, Status> {
    let headers = &exchange.parts.headers;
    let asks_more = headers.keys().any(|name| {
        let name = name.as_str();
        name == UID || name == GROUP || name.starts_with(EXTRA)
    });
    let Some(name) = texts(headers, USER).first().copied().filter(|name| !name.is_empty()) else {
        if asks_more {
            return Err(Status::internal_error(
                "requested impersonation of groups, extra or uid without impersonating a user",
            ));
        }
        return Ok(Flow::Next);
    };
    let wanted = wanted(headers, name);
    for question in questions(&wanted, texts(headers, GROUP).is_empty()) {
        let attributes = question.attributes(&exchange.user);
        if !core.allows(&attributes) {
            return Err(Status::forbidden(
                question.group,
                question.resource,
                &question.name,
                &attributes.forbidden_text(),
            ));
        }
    }
    exchange.user = Arc::new(wanted);
    Ok(Flow::Next)
}

/// The user that the headers describe.
fn wanted(headers: &HeaderMap, name: &str) -> UserInfo {
    let mut groups: Vec<String> = texts(headers, GROUP).into_iter().map(str::to_owned).collect();
    if groups.is_empty()
        && let Some((namespace, _)) =
            name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'))
    {
        groups.push("system:serviceaccounts".to_owned());
        groups.push(format!("system:serviceaccounts:{namespace}"));
    }
    let implied = if name == "system:anonymous" { UNAUTHENTICATED } else { AUTHENTICATED };
    if !groups.iter().any(|group| group == implied) {
        groups.push(implied.to_owned());
    }
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in headers.keys() {
        if let Some(field) = key.as_str().strip_prefix(EXTRA) {
            let values = texts(headers, key.as_str()).into_iter().map(str::to_owned);
            extra.entry(query::decode_path(field)).or_default().extend(values);
        }
    }
    let uid = texts(headers, UID).first().map(|uid| (*uid).to_owned()).unwrap_or_default();
    UserInfo { name: name.to_owned(), uid, groups, extra }
}

/// One thing that the impersonator must be allowed.
struct Question {
    group: &'static str,
    resource: &'static str,
    subresource: String,
    namespace: String,
    name: String,
}

impl Question {
    fn attributes<'a>(&'a self, user: &'a UserInfo) -> Attributes<'a> {
        Attributes {
            user,
            verb: "impersonate",
            is_resource: true,
            namespace: &self.namespace,
            group: self.group,
            resource: self.resource,
            subresource: &self.subresource,
            name: &self.name,
            path: "",
        }
    }
}

/// Everything that must be allowed; groups that nobody named are implied by the user.
fn questions(wanted: &UserInfo, implied_groups: bool) -> Vec<Question> {
    const AUTHENTICATION: &str = "authentication.k8s.io";
    let ask = |group, resource, name: &str| Question {
        group,
        resource,
        subresource: String::new(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let account = wanted.name.strip_prefix(SERVICE_ACCOUNT_PREFIX);
    let mut all = vec![match account.and_then(|rest| rest.split_once(':')) {
        Some((namespace, name)) => {
            Question { namespace: namespace.to_owned(), ..ask("", "serviceaccounts", name) }
        }
        None => ask("", "users", &wanted.name),
    }];
    if !implied_groups {
        let named = wanted.groups.iter().filter(|group| *group != AUTHENTICATED);
        all.extend(named.map(|group| ask("", "groups", group)));
    }
    if !wanted.uid.is_empty() {
        all.push(ask(AUTHENTICATION, "uids", &wanted.uid));
    }
    for (key, values) in &wanted.extra {
        for value in values {
            let question = ask(AUTHENTICATION, "userextras", value);
            all.push(Question { subresource: key.clone(), ..question });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_brings_its_groups() {
        let user = wanted(&HeaderMap::new(), "system:serviceaccount:a:b");
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        let asked = questions(&user, true);
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].resource, asked[0].namespace.as_str()), ("serviceaccounts", "a"));
    }

    #[test]
    fn every_named_group_must_be_allowed() {
        let mut headers = HeaderMap::new();
        headers.append(GROUP, "system:masters".parse().unwrap());
        let user = wanted(&headers, "jane");
        let resources: Vec<_> =
            questions(&user, false).iter().map(|q| (q.resource, q.name.clone())).collect();
        assert_eq!(
            resources,
            [("users", "jane".to_owned()), ("groups", "system:masters".to_owned())]
        );
    }
}

//! `kontiki get`: objects as the server's table, or as they are.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use kontiki_client::client::escape;
use serde_json::{Value, json};

use crate::{
    render::{ServerTable, TableOptions, columns},
    session::{Accept, ConnectionArguments, Session, Target, targets},
};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    connection: ConnectionArguments,
    /// TYPE[,TYPE...] [NAME...] or TYPE/NAME...
    #[arg(required_unless_present = "raw", value_name = "WHAT")]
    what: Vec<String>,
    /// Print what the server answers at this path, as it is
    #[arg(long, value_name = "PATH", conflicts_with = "what")]
    raw: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// How to print
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Go on printing what changes
    #[arg(short, long)]
    watch: bool,
    /// Add a column with the labels
    #[arg(long)]
    show_labels: bool,
    /// Leave the header out
    #[arg(long)]
    no_headers: bool,
    /// Succeed when a named object does not exist
    #[arg(long)]
    ignore_not_found: bool,
}

/// Which objects of a type are meant.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
    /// Only with these labels, as in app=web,tier!=cache
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// Only with these fields, as in spec.nodeName=w1
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<String>,
}

impl Selection {
    /// Whether any selector is given.
    pub(crate) fn selects(&self) -> bool {
        self.selector.is_some() || self.field_selector.is_some()
    }

    /// The selectors as query parameters, each with a leading `&`.
    pub(crate) fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in
            [("labelSelector", &self.selector), ("fieldSelector", &self.field_selector)]
        {
            if let Some(value) = value {
                query.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        query
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// More columns
    Wide,
    /// Objects as YAML
    Yaml,
    /// Objects as JSON
    Json,
    /// TYPE/NAME only
    Name,
}

impl Format {
    fn is_table(format: Option<Format>) -> bool {
        matches!(format, None | Some(Format::Wide))
    }
}

pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode> {
    let session = arguments.connection.open()?;
    if let Some(path) = &arguments.raw {
        let answer = session.client.call(http::Method::GET, path, None).await?;
        session.output.data(&String::from_utf8_lossy(&answer.body))?;
        return Ok(ExitCode::SUCCESS);
    }
    let targets = targets(&session.catalogue().await?, &arguments.what)?;
    if targets.iter().any(|target| target.name.is_some()) && arguments.selection.selects() {
        bail!("name cannot be provided when a selector is specified");
    }
    if arguments.watch {
        let [target] = targets.as_slice() else {
            bail!("you may only watch one type of resource, or one object, at a time");
        };
        return watch(&session, &arguments, target).await.map(|()| ExitCode::SUCCESS);
    }
    if Format::is_table(arguments.output) {
        tables(&session, &arguments, &targets).await
    } else {
        objects(&session, &arguments, &targets).await
    }
}

/// Path and query of a target.
fn uri(session: &Session, arguments: &Arguments, target: &Target) -> String {
    match &target.name {
        Some(name) => target.resource.object(&session.namespace, name),
        None => format!(
            "{}?limit=0{}",
            session.collection(&target.resource, arguments.selection.all_namespaces),
            arguments.selection.query()
        ),
    }
}

async fn tables(session: &Session, arguments: &Arguments, targets: &[Target]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut blocks = Vec::new();
    let kinds: std::collections::BTreeSet<String> =
        targets.iter().map(|t| t.resource.qualified()).collect();
    for target in targets {
        let prefix = prefix(target, kinds.len() > 1);
        let fetched = session.get(&uri(session, arguments, target), Accept::Table).await;
        let Some(value) = present(session, arguments, fetched, &mut code)? else { continue };
        let table: ServerTable = serde_json::from_value(value).context("the server's table")?;
        if table.rows.is_empty() {
            continue;
        }
        let lines = table.text(options(arguments, target, &prefix, !arguments.no_headers));
        merge(&mut blocks, target.resource.qualified(), lines, arguments.no_headers);
    }
    if blocks.is_empty() && code == ExitCode::SUCCESS {
        let place = match (arguments.selection.all_namespaces, targets) {
            (true, _) => String::new(),
            (_, [target, ..]) if !target.resource.namespaced => String::new(),
            _ => format!(" in {} namespace", session.namespace),
        };
        session.output.note(&format!("No resources found{place}."));
    }
    let text: Vec<String> = blocks.iter().map(|(_, lines)| columns(lines)).collect();
    session.output.data(&text.join("\n"))?;
    Ok(code)
}

fn prefix(target: &Target, several: bool) -> String {
    if several { format!("{}/", target.resource.qualified_singular()) } else { String::new() }
}

fn options<'a>(
    arguments: &Arguments,
    target: &Target,
    prefix: &'a str,
    headers: bool,
) -> TableOptions<'a> {
    TableOptions {
        wide: arguments.output == Some(Format::Wide),
        with_namespace: arguments.selection.all_namespaces && target.resource.namespaced,
        with_labels: arguments.show_labels,
        without_headers: !headers,
        prefix,
    }
}

/// Objects of one type that were asked for by name share one table.
fn merge(
    blocks: &mut Vec<(String, Vec<Vec<String>>)>,
    kind: String,
    lines: Vec<Vec<String>>,
    no_headers: bool,
) {
    match blocks.last_mut() {
        Some((last, block)) if *last == kind => {
            block.extend(lines.into_iter().skip(usize::from(!no_headers)));
        }
        _ => blocks.push((kind, lines)),
    }
}

/// What was fetched; a missing object is told, remembered and passed over.
fn present(
    session: &Session,
    arguments: &Arguments,
    fetched: Result<Value, kontiki_client::Error>,
    code: &mut ExitCode,
) -> Result<Option<Value>> {
    match fetched {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => {
            if !arguments.ignore_not_found {
                session.output.note(&super::explain(&error.into()));
                *code = ExitCode::FAILURE;
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

async fn objects(session: &Session, arguments: &Arguments, targets: &[Target]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut items = Vec::new();
    for target in targets {
        let fetched = session.get(&uri(session, arguments, target), Accept::Json).await;
        let Some(mut value) = present(session, arguments, fetched, &mut code)? else { continue };
        match value["items"].take() {
            Value::Array(list) if target.name.is_none() => {
                items.extend(list.into_iter().map(|item| complete(target, item)));
            }
            _ => items.push(complete(target, value)),
        }
    }
    let single = targets.len() == 1 && targets[0].name.is_some();
    let value = match (single, items.pop()) {
        (true, Some(object)) => object,
        (true, None) => return Ok(code),
        (false, last) => {
            items.extend(last);
            json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "" },
                    "items": items })
        }
    };
    session.output.data(&print(&value, arguments.output)?)?;
    Ok(code)
}

/// Items of lists carry no kind of their own.
fn complete(target: &Target, mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.remove("items");
        let mut whole = serde_json::Map::new();
        whole.insert("apiVersion".to_owned(), target.resource.api_version().into());
        whole.insert("kind".to_owned(), target.resource.kind.clone().into());
        fields.retain(|name, _| name != "apiVersion" && name != "kind");
        whole.append(fields);
        return Value::Object(whole);
    }
    object
}

fn print(value: &Value, format: Option<Format>) -> Result<String> {
    Ok(match format {
        Some(Format::Json) => format!("{value:#}\n"),
        Some(Format::Name) => match value["items"].as_array() {
            Some(items) => items.iter().map(|item| format!("{}\n", qualified_name(item))).collect(),
            None => format!("{}\n", qualified_name(value)),
        },
        _ => yaml(value)?,
    })
}

/// A value as YAML.
pub(crate) fn yaml(value: &Value) -> Result<String> {
    serde_saphyr::to_string(value).context("cannot write YAML")
}

/// `deployment.apps/web`.
pub(crate) fn qualified_name(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match object["apiVersion"].as_str().and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

/// What is there, then every change, until the user has seen enough.
async fn watch(session: &Session, arguments: &Arguments, target: &Target) -> Result<()> {
    let collection = session.collection(&target.resource, arguments.selection.all_namespaces);
    let mut selection = arguments.selection.clone();
    if let Some(name) = &target.name {
        selection.field_selector = Some(format!("metadata.name={name}"));
    }
    let table = Format::is_table(arguments.output);
    let accept = if table { Accept::Table } else { Accept::Json };
    let query = selection.query();
    let list = session.get(&format!("{collection}?limit=0{query}"), accept).await?;
    let mut revision = list["metadata"]["resourceVersion"].as_str().unwrap_or("0").to_owned();
    let mut screen = Screen { session, arguments, target, header: !arguments.no_headers };
    screen.show(list)?;
    loop {
        let uri = format!(
            "{collection}?watch=true&allowWatchBookmarks=true&resourceVersion={revision}{query}"
        );
        let mut lines = session.lines(&uri, accept).await?;
        while let Some(line) = lines.next().await? {
            let mut event: Value = serde_json::from_slice(&line).context("a watch event")?;
            let object = event["object"].take();
            let first = if table { &object["rows"][0]["object"] } else { &object };
            if let Some(seen) = first["metadata"]["resourceVersion"]
                .as_str()
                .or(object["metadata"]["resourceVersion"].as_str())
            {
                seen.clone_into(&mut revision);
            }
            match event["type"].as_str() {
                Some("BOOKMARK") => {}
                Some("ERROR") => bail!("{}", object["message"].as_str().unwrap_or("watch failed")),
                _ => screen.show(object)?,
            }
        }
    }
}

/// What a watch has printed so far.
struct Screen<'a> {
    session: &'a Session,
    arguments: &'a Arguments,
    target: &'a Target,
    /// Whether the header is still to come.
    header: bool,
}

impl Screen<'_> {
    fn show(&mut self, mut value: Value) -> Result<()> {
        if !Format::is_table(self.arguments.output) {
            let objects = match value["items"].take() {
                Value::Array(items) => items,
                _ => vec![value],
            };
            for object in objects {
                let object = complete(self.target, object);
                let separator =
                    if self.arguments.output == Some(Format::Yaml) { "---\n" } else { "" };
                let text = print(&object, self.arguments.output)?;
                self.session.output.data(&format!("{separator}{text}"))?;
            }
            return Ok(());
        }
        let table: ServerTable = serde_json::from_value(value).context("the server's table")?;
        if table.rows.is_empty() {
            return Ok(());
        }
        let lines = table.text(options(self.arguments, self.target, "", self.header));
        self.header = false;
        self.session.output.data(&columns(&lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_their_group() {
        let name = |version: &str, kind: &str| {
            qualified_name(&json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}))
        };
        assert_eq!(name("v1", "Pod"), "pod/x");
        assert_eq!(name("apps/v1", "Deployment"), "deployment.apps/x");
    }

    #[test]
    fn selectors_are_escaped_in_the_query() {
        let selection =
            Selection { selector: Some("app in (a,b)".to_owned()), ..Selection::default() };
        assert_eq!(selection.query(), "&labelSelector=app%20in%20%28a%2Cb%29");
    }
}

//! Who may do what: flags of the API server with upstream's names.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use kontiki_apiserver::{
    audit,
    authn::{oidc, static_token::StaticTokens},
    authz::Mode,
};
use serde::{Deserialize, Serialize};

/// Flags, variables and file keys.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct AccessSettings {
    /// File of users by fixed tokens: token,user,uid[,"group1,group2"] per line
    #[arg(long, env = "KONTIKI_TOKEN_AUTH_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    token_auth_file: Option<PathBuf>,
    /// Serve requests without credentials what everybody may see [default: true]
    #[arg(long, env = "KONTIKI_ANONYMOUS_AUTH", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    anonymous_auth: Option<bool>,
    /// Who is asked whether a user may: Node, RBAC, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, env = "KONTIKI_AUTHORIZATION_MODE", value_name = "MODES", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_mode: Option<Vec<String>>,
    /// OpenID Connect issuer whose ID tokens are believed (https)
    #[arg(long, env = "KONTIKI_OIDC_ISSUER_URL", value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_issuer_url: Option<String>,
    /// Client that ID tokens must be made for
    #[arg(long, env = "KONTIKI_OIDC_CLIENT_ID", value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_client_id: Option<String>,
    /// Claim of ID tokens that is the user's name [default: sub]
    #[arg(long, env = "KONTIKI_OIDC_USERNAME_CLAIM", value_name = "CLAIM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_username_claim: Option<String>,
    /// What is put before it; - is nothing [default: the issuer and #, but for email]
    #[arg(long, env = "KONTIKI_OIDC_USERNAME_PREFIX", value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_username_prefix: Option<String>,
    /// Claim of ID tokens that is the user's groups
    #[arg(long, env = "KONTIKI_OIDC_GROUPS_CLAIM", value_name = "CLAIM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_groups_claim: Option<String>,
    /// What is put before each
    #[arg(long, env = "KONTIKI_OIDC_GROUPS_PREFIX", value_name = "PREFIX")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_groups_prefix: Option<String>,
    /// How ID tokens may be signed [default: RS256]
    #[arg(long, env = "KONTIKI_OIDC_SIGNING_ALGS", value_name = "ALGS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_signing_algs: Option<Vec<String>>,
    /// Claim that ID tokens must have, with its value; may be given several times
    #[arg(
        long,
        env = "KONTIKI_OIDC_REQUIRED_CLAIM",
        value_name = "CLAIM=VALUE",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_required_claim: Option<Vec<String>>,
    /// CA of the issuer [default: the system's]
    #[arg(long, env = "KONTIKI_OIDC_CA_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    oidc_ca_file: Option<PathBuf>,
    /// Requests that only read, at a time; with --max-mutating-requests-inflight, all that are
    /// served at a time, by priority and in fairness [default: 400]
    #[arg(long, env = "KONTIKI_MAX_REQUESTS_INFLIGHT", value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_requests_inflight: Option<usize>,
    /// Requests that change something, at a time [default: 200]
    #[arg(long, env = "KONTIKI_MAX_MUTATING_REQUESTS_INFLIGHT", value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    max_mutating_requests_inflight: Option<usize>,
    /// Share the server among its clients by flow schemas and priority levels [default: true]
    #[arg(long, env = "KONTIKI_ENABLE_PRIORITY_AND_FAIRNESS", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_priority_and_fairness: Option<bool>,
    /// Admission plugins to run beside the default ones
    #[arg(
        long,
        env = "KONTIKI_ENABLE_ADMISSION_PLUGINS",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_admission_plugins: Option<Vec<String>>,
    /// Default admission plugins not to run
    #[arg(
        long,
        env = "KONTIKI_DISABLE_ADMISSION_PLUGINS",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_admission_plugins: Option<Vec<String>>,
    /// File of the policy that says what is logged for audits
    #[arg(long, env = "KONTIKI_AUDIT_POLICY_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_policy_file: Option<PathBuf>,
    /// File of the audit log; - is standard output
    #[arg(long, env = "KONTIKI_AUDIT_LOG_PATH", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_log_path: Option<PathBuf>,
    /// Megabytes after which the audit log begins a new file [default: 100]
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXSIZE", value_name = "MB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_log_maxsize: Option<u64>,
    /// Old files of the audit log to keep [default: all]
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXBACKUP", value_name = "NUMBER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_log_maxbackup: Option<usize>,
    /// Days to keep old files of the audit log [default: for ever]
    #[arg(long, env = "KONTIKI_AUDIT_LOG_MAXAGE", value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_log_maxage: Option<u32>,
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    token_auth_file: Option<PathBuf>,
    anonymous_auth: bool,
    modes: Vec<Mode>,
    enable_admission_plugins: Vec<String>,
    disable_admission_plugins: Vec<String>,
    audit: Option<Audit>,
    inflight: Inflight,
    oidc: Option<oidc::Settings>,
    oidc_ca_file: Option<PathBuf>,
}

/// Where systems keep the authorities that they believe.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How many requests at a time, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inflight {
    reading: usize,
    mutating: usize,
    by_priority: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Audit {
    policy_file: PathBuf,
    log_path: PathBuf,
    rotation: audit::Rotation,
}

impl Access {
    pub(super) fn from_settings(settings: AccessSettings) -> Result<Access> {
        let modes = settings.authorization_mode.unwrap_or_default();
        let mut modes = modes
            .iter()
            .map(|mode| mode.parse().map_err(anyhow::Error::msg))
            .collect::<Result<Vec<Mode>>>()?;
        if modes.is_empty() {
            modes = Mode::DEFAULT.to_vec();
        }
        let rotation = audit::Rotation {
            bytes_max: settings.audit_log_maxsize.unwrap_or(100) << 20,
            backups_max: settings.audit_log_maxbackup.unwrap_or(0),
            age_max: Duration::from_secs(
                u64::from(settings.audit_log_maxage.unwrap_or(0)) * 86_400,
            ),
        };
        let inflight = Inflight {
            reading: settings.max_requests_inflight.unwrap_or(400),
            mutating: settings.max_mutating_requests_inflight.unwrap_or(200),
            by_priority: settings.enable_priority_and_fairness.unwrap_or(true),
        };
        let oidc = oidc::Flags {
            issuer_url: settings.oidc_issuer_url,
            client_id: settings.oidc_client_id,
            username_claim: settings.oidc_username_claim,
            username_prefix: settings.oidc_username_prefix,
            groups_claim: settings.oidc_groups_claim,
            groups_prefix: settings.oidc_groups_prefix,
            signing_algs: settings.oidc_signing_algs.unwrap_or_default(),
            required_claims: settings.oidc_required_claim.unwrap_or_default(),
        };
        let oidc = oidc.check().map_err(anyhow::Error::msg)?;
        let both = inflight.reading.checked_add(inflight.mutating);
        ensure!(
            both.is_some_and(|both| (1..=1 << 20).contains(&both)),
            "--max-requests-inflight and --max-mutating-requests-inflight must be positive \
             together, and a million at most"
        );
        ensure!(
            settings.audit_policy_file.is_some() == settings.audit_log_path.is_some(),
            "--audit-policy-file and --audit-log-path go together"
        );
        let audit = settings.audit_policy_file.zip(settings.audit_log_path);
        Ok(Access {
            token_auth_file: settings.token_auth_file,
            anonymous_auth: settings.anonymous_auth.unwrap_or(true),
            modes,
            enable_admission_plugins: settings.enable_admission_plugins.unwrap_or_default(),
            disable_admission_plugins: settings.disable_admission_plugins.unwrap_or_default(),
            audit: audit.map(|(policy_file, log_path)| Audit { policy_file, log_path, rotation }),
            inflight,
            oidc,
            oidc_ca_file: settings.oidc_ca_file,
        })
    }

    /// Reads the files, and puts all into the API server's options.
    pub(crate) fn apply(&self, options: &mut kontiki_apiserver::Options) -> Result<()> {
        let read = |path: &PathBuf| {
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
        };
        if let Some(path) = &self.token_auth_file {
            options.static_tokens =
                StaticTokens::parse(&read(path)?)
                    .map_err(anyhow::Error::msg)
                    .with_context(|| format!("--token-auth-file {}", path.display()))?;
        }
        if let Some(audit) = &self.audit {
            let policy = audit::Policy::parse(&read(&audit.policy_file)?)
                .with_context(|| format!("--audit-policy-file {}", audit.policy_file.display()))?;
            let (path, rotation) = (audit.log_path.clone(), audit.rotation);
            options.audit = Some(audit::Options { policy, path, rotation });
        }
        if let Some(oidc) = &self.oidc {
            let file = self
                .oidc_ca_file
                .clone()
                .or_else(|| SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists()));
            let file = file.context("this system has no CA bundle: --oidc-ca-file is needed")?;
            options.oidc = Some(oidc::Settings { roots: read(&file)?, ..oidc.clone() });
        }
        options.max_inflight = self.inflight.reading;
        options.max_mutating_inflight = self.inflight.mutating;
        options.priority_and_fairness = self.inflight.by_priority;
        options.anonymous_auth = self.anonymous_auth;
        options.authorization_modes.clone_from(&self.modes);
        options.enable_admission_plugins.clone_from(&self.enable_admission_plugins);
        options.disable_admission_plugins.clone_from(&self.disable_admission_plugins);
        Ok(())
    }
}

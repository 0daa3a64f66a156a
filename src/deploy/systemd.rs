use std::fmt::Write as _;

use url::Url;

use super::File;
use super::plan::{Plan, Secrets};

/// Files that a process has open besides its connections.
const OTHER_FILES: u64 = 4096;
/// For clients and for operators, who are on this machine, or come through it.
const ADDRESSES: (&str, &str) = ("0.0.0.0", "127.0.0.1");
/// How much longer than its warm-up a start may take: for a boot without a network yet.
const SLOW_START_SECONDS: u64 = 80;

/// What a process may do that serves, keeps a folder and calls others: nothing else.
const HARDENING: &str = "\
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
";

/// Which of the processes of a product on one host.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    /// The one that serves, on both sockets.
    Only,
    /// One that stands in while the other is started anew: beside it on the socket for clients, with a listener of its own for operators
    /// at the port by which the instance is called.
    StandIn,
}

/// In place of the name of an instance until all is quoted: then it is `%i`, which systemd fills in.
const INSTANCE: &str = "name-of-this-instance";

pub(super) fn render(plan: &Plan) -> Vec<File> {
    let (public, admin) = plan.ports;
    let file = |suffix: &str, text: String| File { name: format!("{}{suffix}", plan.name), text };
    vec![
        file(".service", service(plan, Which::Only)),
        file("@.service", service(plan, Which::StandIn).replace(INSTANCE, "%i")),
        file(".socket", socket(plan, "public", &format!("{}:{public}", ADDRESSES.0))),
        file("-admin.socket", socket(plan, "admin", &format!("{}:{admin}", ADDRESSES.1))),
    ]
}

fn head(plan: &Plan) -> String {
    let Plan { name, version, contract, .. } = plan;
    format!(
        "# {name} {version}, contract {contract}. Rendered from its manifest: change the deployment, not this file.\n"
    )
}

fn service(plan: &Plan, which: Which) -> String {
    let Plan { name, binary, stop_seconds, .. } = plan;
    let mut text = head(plan);
    let mut add = |line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        _ = writeln!(text, "{line}");
    };
    let (unit, sockets, title) = match which {
        Which::Only => (format!("{name}.service"), format!("{name}.socket {name}-admin.socket"), name.clone()),
        Which::StandIn => {
            add(format_args!(
                "# Stands in while {name}.service is started anew, called by a free port for its operators:"
            ));
            let free = plan.ports.1.checked_add(1).unwrap_or(plan.ports.1 - 1);
            let (start, stop) = (format!("systemctl start {name}@{free}"), format!("systemctl stop {name}@{free}"));
            add(format_args!("#   {start} && systemctl restart {name} && {stop}"));
            (format!("{name}@{INSTANCE}.service"), format!("{name}.socket"), format!("{name}, standing in"))
        }
    };
    add(format_args!("\n[Unit]\nDescription={title}\nWants=network-online.target"));
    add(format_args!("After=network-online.target {sockets}"));
    add(format_args!("Requires={sockets}"));
    add(format_args!("\n[Service]\nType=notify\nNotifyAccess=main\nExecStart=/usr/bin/{binary}"));
    add(format_args!("Sockets={sockets}"));
    add(format_args!("TimeoutStartSec={}", plan.warm_up_seconds + SLOW_START_SECONDS));
    add(format_args!(
        "# The longest drain, lame duck included, and a margin. Only the process is told; what is left is killed."
    ));
    add(format_args!("KillSignal=SIGTERM\nKillMode=mixed\nTimeoutStopSec={stop_seconds}"));
    add(format_args!("# 78 is a configuration that cannot be used: it ends the same way the next time."));
    add(format_args!("Restart=on-failure\nRestartSec=1\nRestartPreventExitStatus=78"));
    add(format_args!("LimitNOFILE={}", plan.connections + OTHER_FILES));
    add(format_args!(
        "# The folder is one user's, under whatever name of a unit it is used.\nDynamicUser=yes\nUser={name}"
    ));
    add(format_args!("StateDirectory={name}\nStateDirectoryMode=0700"));
    add(format_args!("\n# What it is told."));
    let mut variables = plan.open_variables(ADDRESSES, &format!("/var/lib/{name}"));
    if which == Which::StandIn {
        variables.insert("HALFBYTE_ADMIN_LISTEN".to_owned(), format!("{}:{INSTANCE}", ADDRESSES.1));
    }
    let credentials = format!("/run/credentials/{unit}");
    let mut files = Vec::new();
    match &plan.secrets {
        Secrets::Files { folder, names } => {
            variables.insert("HALFBYTE_SECRETS_URL".to_owned(), format!("file://{credentials}"));
            files.extend(names.iter().map(|name| (name.clone(), format!("{folder}/{name}"))));
        }
        Secrets::Login { method, files: logins } => {
            files.extend((1..).zip(logins).map(|(number, path)| (format!("login-{number}"), path.clone())));
            let shown: Vec<String> = files.iter().map(|(id, _)| format!("{credentials}/{id}")).collect();
            if let Some(url) = variables.get_mut("HALFBYTE_SECRETS_URL") {
                *url = with_auth(url, &format!("{method}:{}", shown.join(",")));
            }
        }
        Secrets::None | Secrets::ServiceAccount(_) | Secrets::Variables(_) => {}
    }
    variables.iter().for_each(|(name, value)| add(format_args!("Environment={}", quoted(&format!("{name}={value}")))));
    if !plan.variables.secret.is_empty() {
        let names: Vec<&str> = plan.variables.secret.iter().map(String::as_str).collect();
        add(format_args!("# Mode 0600, of root, with a line NAME=value for each of: {}", names.join(" ")));
        add(format_args!("EnvironmentFile=/etc/{name}/secrets.env"));
    }
    if !files.is_empty() {
        add(format_args!("# Copied for this process alone when it starts: what changes is seen after a restart."));
        files.iter().for_each(|(id, path)| add(format_args!("LoadCredential={id}:{path}")));
    }
    add(format_args!("\n# What it may do.\n{HARDENING}"));
    if which == Which::Only {
        add(format_args!("[Install]\nWantedBy=multi-user.target"));
    }
    text
}

fn socket(plan: &Plan, whose: &str, address: &str) -> String {
    let Plan { name, .. } = plan;
    format!(
        "{head}
[Unit]
Description={name}, its {whose} listener

[Socket]
ListenStream={address}
FileDescriptorName={whose}
Service={name}.service
NoDelay=yes
Backlog=4096

[Install]
WantedBy=sockets.target
",
        head = head(plan)
    )
}

/// The address of OpenBao with another `auth`.
fn with_auth(address: &str, auth: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return address.to_owned() };
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != "auth")
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair("auth", auth);
    url.into()
}

/// One word of `Environment=`: quotes and backslashes as in C, and no specifiers.
fn quoted(word: &str) -> String {
    format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"))
}

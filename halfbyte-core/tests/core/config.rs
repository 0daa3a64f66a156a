use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use halfbyte_core::config::{
    ApiKeysBackend, BillingBackend, Config, ConfigError, Environment, IdentityBackend, KEYS, Preset, SecretsBackend,
};
use secrecy::ExposeSecret as _;

fn parse(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(vars.iter().copied())
}

fn good(vars: &[(&str, &str)]) -> Config {
    parse(vars).expect("configured")
}

/// The keys that are at fault, and all that is said of them.
fn faults(vars: &[(&str, &str)]) -> (Vec<String>, String) {
    let error = parse(vars).expect_err("a fault");
    assert_eq!(format!("{error:?}"), error.to_string());
    (error.faults().iter().map(|fault| fault.key.clone()).collect(), error.to_string())
}

/// One key at fault, with what is said of it.
fn fault(key: &str, value: &str) -> String {
    let (keys, message) = faults(&[(key, value)]);
    assert_eq!(keys, [key], "{message}");
    message
}

const PRODUCTION: [(&str, &str); 5] = [
    ("HALFBYTE_ENV", "production"),
    ("HALFBYTE_SECRETS_URL", "env:"),
    ("HALFBYTE_IDENTITY_URL", "https://issuer.example.com/"),
    ("HALFBYTE_BILLING_URL", "sqlite:///var/lib/billing.sqlite"),
    ("HALFBYTE_PUBLIC_URL", "https://parcel.example.com"),
];

#[test]
fn with_nothing_said_everything_is_embedded_and_local() {
    let config = good(&[]);
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9090");
    assert_eq!(config.public_url, None);
    assert_eq!(config.tls_secret, None);
    assert_eq!(config.home, Path::new(".halfbyte"));
    assert_eq!(config.secrets, SecretsBackend::Local);
    assert_eq!(config.identity, [IdentityBackend::Embedded]);
    assert_eq!(config.audience, None);
    assert!(matches!(config.billing, BillingBackend::Sqlite(None)));
    assert_eq!(config.lame_duck, Duration::ZERO);
}

#[test]
fn a_product_that_speaks_tls_is_known_under_https() {
    let tls = ("HALFBYTE_TLS_SECRET", "tls-certificate");
    let (keys, message) = faults(&[tls, ("HALFBYTE_PUBLIC_URL", "http://localhost:8080")]);
    assert_eq!((&*keys, message.contains("https://")), (&["HALFBYTE_PUBLIC_URL".to_owned()][..], true));
    good(&[tls, ("HALFBYTE_PUBLIC_URL", "https://localhost:8080")]);
    good(&[tls]);
}

#[test]
fn every_key_is_read() {
    let vars = [
        ("HALFBYTE_ENV", "staging"),
        ("HALFBYTE_LISTEN", "[::]:80"),
        ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:81"),
        ("HALFBYTE_PUBLIC_URL", "https://parcel.example.com"),
        ("HALFBYTE_TLS_SECRET", "tls-certificate"),
        ("HALFBYTE_HOME", "/var/lib/parcel"),
        ("HALFBYTE_SECRETS_URL", "file:///run/my%20secrets"),
        ("HALFBYTE_IDENTITY_URL", "https://a.example.com/x, embedded:"),
        ("HALFBYTE_IDENTITY_AUDIENCE", "parcel"),
        ("HALFBYTE_IDENTITY_CLIENT_ID", "parcel-app"),
        ("HALFBYTE_API_KEYS_URL", "off:"),
        ("HALFBYTE_TRUSTED_PROXIES", "192.0.2.7"),
        ("HALFBYTE_TRACE_NETWORKS", "192.0.2.0/24"),
        ("HALFBYTE_DPOP_NONCE", "required"),
        ("HALFBYTE_BILLING_URL", "sqlite:///var/my%20lib/b.sqlite"),
        ("HALFBYTE_LAME_DUCK", "7"),
    ];
    let known: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
    assert_eq!(vars.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), known, "this test covers each key");
    let config = good(&vars);
    assert_eq!(config.environment, Environment::Staging);
    assert_eq!((config.listen.to_string().as_str(), config.admin_listen.port()), ("[::]:80", 81));
    assert_eq!(config.public_url.expect("set").as_str(), "https://parcel.example.com/");
    assert_eq!(config.tls_secret.as_deref(), Some("tls-certificate"));
    assert_eq!(config.home, Path::new("/var/lib/parcel"));
    assert_eq!(config.secrets, SecretsBackend::Files("/run/my secrets".into()));
    assert_eq!(config.identity, [IdentityBackend::issuer("https://a.example.com/x"), IdentityBackend::Embedded]);
    assert_eq!((config.audience.as_deref(), config.client_id.as_deref()), (Some("parcel"), Some("parcel-app")));
    assert!(matches!(config.api_keys, ApiKeysBackend::Off));
    assert_eq!(config.trusted_proxies, ["192.0.2.7/32".parse().unwrap()]);
    assert_eq!(config.trace_networks, ["192.0.2.0/24".parse().unwrap()]);
    assert!(config.dpop_nonce);
    assert!(matches!(config.billing, BillingBackend::Sqlite(Some(path)) if path == Path::new("/var/my lib/b.sqlite")));
    assert_eq!(config.lame_duck, Duration::from_secs(7));
}

#[test]
fn each_environment_and_each_secrets_backend_has_its_name() {
    for environment in [Environment::Development, Environment::Staging] {
        assert_eq!(good(&[("HALFBYTE_ENV", environment.as_str())]).environment, environment);
    }
    assert_eq!(good(&PRODUCTION).environment, Environment::Production);
    assert_eq!(good(&[("HALFBYTE_SECRETS_URL", "local:")]).secrets, SecretsBackend::Local);
    assert_eq!(good(&[("HALFBYTE_SECRETS_URL", "env:")]).secrets, SecretsBackend::Env);
    for url in [
        "openbao://bao.example.com:8200/secret/parcel?auth=kubernetes:parcel",
        "vault://bao.example.com/secret",
        "openbao+http://127.0.0.1:8200/secret",
        "vault+http://[::1]:8200/secret",
        "openbao+http://localhost:8200/secret",
    ] {
        let parsed = SecretsBackend::OpenBao(url.parse().unwrap());
        assert_eq!(good(&[("HALFBYTE_SECRETS_URL", url)]).secrets, parsed);
    }
}

#[test]
fn secrets_come_over_plain_http_from_this_machine_alone_and_never_in_production() {
    let mut vars = PRODUCTION.to_vec();
    vars.retain(|(key, _)| *key != "HALFBYTE_SECRETS_URL");
    vars.push(("HALFBYTE_SECRETS_URL", "openbao+http://127.0.0.1:8200/secret"));
    assert_eq!(faults(&vars).0, ["HALFBYTE_SECRETS_URL"]);
}

#[test]
fn aws_is_a_region_and_a_prefix() {
    for (url, prefix) in [
        ("aws-sm://eu-central-1", ""),
        ("aws-sm://eu-central-1/", ""),
        ("aws-sm://eu-central-1/prod/parcel/", "prod/parcel"),
    ] {
        let expected = SecretsBackend::AwsSecretsManager { region: "eu-central-1".into(), prefix: prefix.into() };
        assert_eq!(good(&[("HALFBYTE_SECRETS_URL", url)]).secrets, expected, "{url}");
    }
    for url in
        ["aws-sm:", "aws-sm:///prod", "aws-sm://id:key@r/p", "aws-sm://r:443/p", "aws-sm://r/p?x=1", "aws-sm://r/p#x"]
    {
        let message = fault("HALFBYTE_SECRETS_URL", url);
        assert!(message.contains("must be aws-sm://region"), "{url}: {message}");
    }
}

#[test]
fn outside_development_a_process_stays_reachable_for_a_while() {
    assert_eq!(good(&[("HALFBYTE_ENV", "staging")]).lame_duck, Duration::from_secs(5));
    assert_eq!(good(&PRODUCTION).lame_duck, Duration::from_secs(5));
}

#[test]
fn empty_and_blank_mean_unset() {
    for empty in ["", "  "] {
        let vars: Vec<_> = KEYS.iter().map(|key| (key.name, empty)).collect();
        assert_eq!(good(&vars).listen, good(&[]).listen);
    }
    assert_eq!(good(&[("HALFBYTE_ENV", " staging ")]).environment, Environment::Staging);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_name() {
    for (unknown, known) in [
        ("HALFBYTE_LISEN", "HALFBYTE_LISTEN"),
        ("HALFBYTE_LISTNE", "HALFBYTE_LISTEN"),
        ("HALFBYTE_SECRET_URL", "HALFBYTE_SECRETS_URL"),
    ] {
        let message = fault(unknown, "x");
        assert!(message.contains("there is no such key"), "{message}");
        assert!(message.contains(&format!("did you mean {known}?")), "{message}");
    }
    assert!(!fault("HALFBYTE_FOO", "x").contains("did you mean"));
    let far = fault("HALFBYTE_COMPLETELY_DIFFERENT_THING", "x");
    assert!(!far.contains("did you mean"), "{far}");
    assert!(parse(&[("HALFBYTES", "not ours"), ("halfbyte_listen", "not ours")]).is_ok());
    let empty = fault("HALFBYTE_LISEN", "");
    assert!(empty.contains("did you mean HALFBYTE_LISTEN?"), "{empty}");
}

#[test]
fn all_faults_are_reported_at_once() {
    let (keys, message) = faults(&[
        ("HALFBYTE_ENV", "prod"),
        ("HALFBYTE_LISTEN", "8080"),
        ("HALFBYTE_LAME_DUCK", "-1"),
        ("HALFBYTE_SECRETS_URL", "vault:"),
        ("HALFBYTE_HOEM", "/x"),
    ]);
    let expected = ["HALFBYTE_ENV", "HALFBYTE_LISTEN", "HALFBYTE_LAME_DUCK", "HALFBYTE_SECRETS_URL", "HALFBYTE_HOEM"];
    assert_eq!(keys.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected.into());
    assert!(message.starts_with("the configuration has 5 faults:"), "{message}");
    for part in [
        "\"prod\" is not one of development",
        "such as 127.0.0.1:8080",
        "from 0 to 65535",
        "must be such as openbao://host:8200/mount/path",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert_eq!(message.lines().count(), 6);
}

#[test]
fn production_refuses_each_embedded_default_and_says_which_key_to_set() {
    let (keys, message) = faults(&[("HALFBYTE_ENV", "production")]);
    assert_eq!(keys, ["HALFBYTE_SECRETS_URL", "HALFBYTE_IDENTITY_URL", "HALFBYTE_BILLING_URL", "HALFBYTE_PUBLIC_URL"]);
    for choice in [
        "openbao://, aws-sm://, file:///dir or env:",
        "https:// URL of your issuer",
        "sqlite:///absolute/path",
        "https:// address under",
    ] {
        assert!(message.contains(choice), "{choice} is not in {message}");
    }
    let embedded = [
        ("HALFBYTE_SECRETS_URL", "local:"),
        ("HALFBYTE_IDENTITY_URL", "embedded:"),
        ("HALFBYTE_IDENTITY_URL", "https://issuer.example.com,embedded:"),
    ];
    for (key, value) in embedded {
        let mut vars = PRODUCTION;
        vars.iter_mut().find(|var| var.0 == key).expect("there").1 = value;
        let (keys, message) = faults(&vars);
        assert_eq!(keys, [key]);
        assert!(message.contains("production refuses the default of development"), "{message}");
    }
    // One fault a key: what is wrong with it comes before what it should have been.
    let mut vars = PRODUCTION;
    vars[1].1 = "vault:";
    assert_eq!(faults(&vars).0, ["HALFBYTE_SECRETS_URL"]);
}

#[test]
fn plain_http_is_for_this_machine_and_never_for_production() {
    for key in ["HALFBYTE_IDENTITY_URL", "HALFBYTE_PUBLIC_URL"] {
        for good in
            ["http://127.0.0.1:9", "http://127.9.9.9", "http://[::1]:9", "http://localhost", "http://a.localhost"]
        {
            assert!(parse(&[(key, good)]).is_ok(), "{key}={good}");
            let mut vars = PRODUCTION.to_vec();
            vars.retain(|var| var.0 != key);
            vars.push((key, good));
            let (keys, message) = faults(&vars);
            assert_eq!(keys, [key]);
            assert!(message.contains("production needs https"), "{message}");
        }
        for bad in ["http://example.com", "http://10.0.0.1", "http://localhost.example.com", "http://notlocalhost"] {
            assert!(fault(key, bad).contains("needs https"), "{key}={bad}");
        }
        assert!(fault(key, "ftp://example.com").contains("not a scheme"));
    }
}

#[test]
fn a_password_in_a_url_is_refused_and_never_repeated() {
    for key in ["HALFBYTE_IDENTITY_URL", "HALFBYTE_PUBLIC_URL", "HALFBYTE_SECRETS_URL", "HALFBYTE_BILLING_URL"] {
        for url in [
            "https://u:hunter2@example.com",
            "https://hunter2@example.com",
            "mysql://u:hunter2@db/x",
            "sqlite://u:hunter2@/x",
            "file://hunter2/x",
            "https://u:hunter2@exa mple",
            "http://[hunter2",
        ] {
            let message = fault(key, url);
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}

#[test]
fn what_a_url_cannot_use_is_refused_and_not_ignored() {
    for (key, value) in [
        ("HALFBYTE_PUBLIC_URL", "https://x.test/path"),
        ("HALFBYTE_PUBLIC_URL", "https://x.test/?q"),
        ("HALFBYTE_PUBLIC_URL", "https://x.test/#f"),
        ("HALFBYTE_IDENTITY_URL", "https://x.test/?q"),
        ("HALFBYTE_IDENTITY_URL", "https://x.test/#f"),
        ("HALFBYTE_IDENTITY_URL", "https://x.test,,https://y.test"),
        ("HALFBYTE_SECRETS_URL", "file:///x?mode=ro"),
        ("HALFBYTE_SECRETS_URL", "file://host/x"),
        ("HALFBYTE_SECRETS_URL", "openbao://host:8200"),
        ("HALFBYTE_SECRETS_URL", "openbao:///mount/path"),
        ("HALFBYTE_SECRETS_URL", "openbao://host/mount#f"),
        ("HALFBYTE_SECRETS_URL", "openbao+http://vault.example.com/mount"),
        ("HALFBYTE_SECRETS_URL", "vault+http://127.0.0.1.example.com/mount"),
        ("HALFBYTE_SECRETS_URL", "vault+https://127.0.0.1/mount"),
        ("HALFBYTE_SECRETS_URL", "aws-sm:///prefix"),
        ("HALFBYTE_SECRETS_URL", "aws-sm://eu-central-1/parcel?q"),
        ("HALFBYTE_SECRETS_URL", "aws-sm://eu-central-1:443/parcel"),
        ("HALFBYTE_BILLING_URL", "sqlite:///x?mode=ro"),
        ("HALFBYTE_BILLING_URL", "sqlite:///x#f"),
        ("HALFBYTE_BILLING_URL", "sqlite:///%ff"),
        ("HALFBYTE_BILLING_URL", "sqlite://host/x"),
        ("HALFBYTE_BILLING_URL", "sqlite:///"),
        ("HALFBYTE_BILLING_URL", "sqlite:"),
        ("HALFBYTE_BILLING_URL", "mysql://x"),
    ] {
        fault(key, value);
    }
}

#[test]
fn billing_may_be_in_a_database_whose_password_nobody_sees_in_production_too() {
    for scheme in ["postgres", "postgresql"] {
        let url = format!("{scheme}://billing:hunter2@db.example:5432/billing?sslmode=require");
        let mut vars = PRODUCTION.to_vec();
        vars.retain(|(key, _)| *key != "HALFBYTE_BILLING_URL");
        vars.push(("HALFBYTE_BILLING_URL", &url));
        let config = good(&vars);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let BillingBackend::Postgres(kept) = config.billing else { panic!("{:?}", config.billing) };
        assert_eq!(kept.expose_secret(), url);
    }
}

#[test]
fn an_issuer_named_twice_is_refused() {
    for twice in
        ["https://x.test,https://x.test", "embedded:,embedded:", "https://x.test, https://y.test , https://x.test"]
    {
        assert!(fault("HALFBYTE_IDENTITY_URL", twice).contains("named twice"), "{twice}");
    }
    let both = good(&[("HALFBYTE_IDENTITY_URL", "https://x.test,https://y.test")]);
    assert_eq!(both.identity.len(), 2);
}

#[test]
fn both_listeners_on_one_address_are_refused_unless_the_port_is_free_to_choose() {
    let (keys, message) = faults(&[("HALFBYTE_LISTEN", "127.0.0.1:9090")]);
    assert_eq!(keys, ["HALFBYTE_ADMIN_LISTEN"], "{message}");
    good(&[("HALFBYTE_LISTEN", "127.0.0.1:0"), ("HALFBYTE_ADMIN_LISTEN", "127.0.0.1:0")]);
}

#[test]
fn numbers_and_addresses_have_their_form() {
    for bad in ["-1", "1.5", "65536", "5s", "x"] {
        fault("HALFBYTE_LAME_DUCK", bad);
    }
    for bad in ["8080", ":8080", "localhost:8080", "127.0.0.1", "127.0.0.1:70000"] {
        fault("HALFBYTE_LISTEN", bad);
        fault("HALFBYTE_ADMIN_LISTEN", bad);
    }
}

#[test]
fn help_lists_every_key_with_its_meaning() {
    let help = Config::help();
    assert_eq!(help.lines().count(), KEYS.len());
    for (line, key) in help.lines().zip(KEYS) {
        assert!(line.starts_with(key.name) && line.contains(key.default) && line.ends_with(key.meaning), "{line}");
    }
}

#[test]
fn what_is_not_ours_is_handed_on_and_debug_shows_no_value_of_it() {
    let config = good(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hunter2"),
        ("DB_PASSWORD", "hunter2"),
        ("EMPTY", ""),
        ("HALFBYTE_LISTEN", "127.0.0.1:1"),
    ]);
    assert_eq!(config.other.get("DB_PASSWORD"), Some("hunter2"));
    assert_eq!((config.other.get("EMPTY"), config.other.get("NONE")), (None, None));
    assert_eq!(config.other.get("HALFBYTE_LISTEN"), None, "ours are not handed on");
    assert_eq!(config.other.iter().count(), 3);
    for shown in [format!("{config:?}"), format!("{config:#?}"), format!("{:?}", config.other)] {
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("OTEL_EXPORTER_OTLP_HEADERS") && !shown.contains("DB_PASSWORD"), "{shown}");
    }
}

#[test]
fn a_preset_stands_before_the_address_of_its_issuer() {
    let config =
        Config::parse([("HALFBYTE_IDENTITY_URL", "keycloak+https://sso.example.com/realms/a,https://b+c.example.com")]);
    let issuer = |id: &str, preset| IdentityBackend::Issuer { id: id.into(), preset };
    let keycloak = issuer("https://sso.example.com/realms/a", Preset::Keycloak);
    assert_eq!(config.unwrap().identity, [keycloak, issuer("https://b+c.example.com", Preset::Generic)]);
    let error = Config::parse([("HALFBYTE_IDENTITY_URL", "keyclock+https://sso.example.com")]).unwrap_err().to_string();
    assert!(error.contains("there is no preset \"keyclock\"; there are rfc9068, keycloak, "), "{error}");
}

#[test]
fn api_keys_are_in_a_file_in_development_and_elsewhere_where_it_is_said() {
    let keys = |vars: &[(&str, &str)]| Config::parse(vars.iter().copied()).map(|config| config.api_keys);
    assert!(matches!(keys(&[]), Ok(ApiKeysBackend::Embedded)));
    assert!(matches!(keys(&[("HALFBYTE_ENV", "staging")]), Ok(ApiKeysBackend::Off)));
    assert!(matches!(keys(&[("HALFBYTE_API_KEYS_URL", "off:")]), Ok(ApiKeysBackend::Off)));
    let database = keys(&[("HALFBYTE_API_KEYS_URL", "postgres://app:hunter2@db/app")]).unwrap();
    assert!(matches!(database, ApiKeysBackend::Postgres(_)));
    assert!(!format!("{database:?}").contains("hunter2"));
    let production = [("HALFBYTE_ENV", "production"), ("HALFBYTE_API_KEYS_URL", "embedded:")];
    assert!(keys(&production).unwrap_err().to_string().contains("production does not keep API keys in a file"));
    let wrong = keys(&[("HALFBYTE_API_KEYS_URL", "mysql://app:hunter2@db/app")]).unwrap_err().to_string();
    assert!(wrong.contains("use off:, embedded: or postgres://") && !wrong.contains("hunter2"), "{wrong}");
}

#[test]
fn trusted_proxies_are_networks_or_addresses() {
    let config = Config::parse([("HALFBYTE_TRUSTED_PROXIES", "10.0.0.0/8, ::1")]).unwrap();
    assert_eq!(config.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    let error = Config::parse([("HALFBYTE_TRUSTED_PROXIES", "10.0.0.0/8,proxy")]).unwrap_err().to_string();
    assert!(error.contains("\"proxy\" is not a network"), "{error}");
}

#[test]
fn a_nonce_in_dpop_proofs_is_required_or_not() {
    assert!(Config::parse([("HALFBYTE_DPOP_NONCE", "required")]).unwrap().dpop_nonce);
    assert!(!Config::parse([("HALFBYTE_DPOP_NONCE", "off")]).unwrap().dpop_nonce);
    assert!(Config::parse([("HALFBYTE_DPOP_NONCE", "yes")]).unwrap_err().to_string().contains("off, required"));
}

#[test]
fn traces_of_others_are_taken_up_from_this_machine_in_development_and_else_from_nobody_unless_said() {
    let loopback: [ipnet::IpNet; 2] = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
    assert_eq!(good(&[]).trace_networks, loopback);
    assert!(good(&PRODUCTION).trace_networks.is_empty());
    assert!(good(&[("HALFBYTE_ENV", "staging")]).trace_networks.is_empty());
    assert!(good(&[("HALFBYTE_TRACE_NETWORKS", "none")]).trace_networks.is_empty());
    assert!(fault("HALFBYTE_TRACE_NETWORKS", "everybody").contains("not a network"));
}

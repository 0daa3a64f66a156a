use halfbyte_core::config::Config;
use halfbyte_secrets::{ExposeSecret as _, Secrets};

use super::{chain, lifecycle};

#[tokio::test(start_paused = true)]
async fn a_secret_is_the_variable_of_its_name_in_upper_case() {
    let vars = [("HALFBYTE_SECRETS_URL", "env:"), ("DB_PASSWORD", "one"), ("A_B_C9", "two"), ("EMPTY", "")];
    let config = Config::parse(vars).expect("configured");
    let secrets = Secrets::open(&config, &lifecycle()).expect("opened");
    for (name, value) in [("db-password", "one"), ("DB_PASSWORD", "one"), ("a.b-C9", "two")] {
        let secret = secrets.get::<String>(name);
        secret.ready().await.expect("set");
        assert_eq!(secret.load().expect("set").expose_secret(), value, "{name}");
    }
    for missing in ["empty", "none", "halfbyte-secrets-url"] {
        let error = secrets.get::<String>(missing).ready().await.expect_err(missing);
        assert!(error.is_not_found(), "{error:?}");
    }
    let error = secrets.get::<String>("smtp-password").ready().await.expect_err("not set");
    assert_eq!(chain(&error), "there is no secret smtp-password: the variable SMTP_PASSWORD is not set");
}

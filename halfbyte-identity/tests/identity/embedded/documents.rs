use http::{Method, Request};
use serde_json::json;

use crate::support::{Product, get, send};

#[tokio::test]
async fn the_documents_say_what_clients_look_for() {
    let product = Product::embedded().await;
    let service = product.endpoints();
    let resource = send(&service, get("/.well-known/oauth-protected-resource")).await;
    let base = "http://127.0.0.1:8080";
    assert_eq!(
        resource.json(),
        json!({
            "resource": base,
            "authorization_servers": [base],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "PS256", "RS256"],
            "tls_client_certificate_bound_access_tokens": false,
        })
    );
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let discovery = send(&service, get(path)).await;
        assert_eq!(
            discovery.json(),
            json!({
                "issuer": base,
                "jwks_uri": format!("{base}/oauth/jwks"),
                "token_endpoint": format!("{base}/oauth/token"),
                "revocation_endpoint": format!("{base}/oauth/revoke"),
                "introspection_endpoint": format!("{base}/oauth/introspect"),
                "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            })
        );
    }
    let jwks = send(&service, get("/oauth/jwks")).await.json();
    let keys = jwks["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2, "the one that signs, and the next");
    for key in keys {
        let mut members: Vec<_> = key.as_object().expect("an object").keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"], "and nothing of the private half");
    }
}

#[tokio::test]
async fn each_document_is_for_get_and_head_announces_its_size_and_says_how_long_it_keeps() {
    let product = Product::embedded().await;
    let service = product.endpoints();
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/openid-configuration", "/oauth/jwks"] {
        let request = |method| Request::builder().method(method).uri(path).body(String::new()).expect("a request");
        let whole = send(&service, request(Method::GET)).await;
        assert_eq!((whole.status.as_u16(), whole.header("content-type")), (200, "application/json"));
        assert_eq!(whole.header("content-length"), whole.body.len().to_string());
        assert_eq!(whole.header("cache-control"), "public, max-age=60");
        let head = send(&service, request(Method::HEAD)).await;
        assert_eq!((head.status.as_u16(), head.body.as_str()), (200, ""));
        assert_eq!(head.headers, whole.headers);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let refused = send(&service, request(method)).await;
            assert_eq!((refused.status.as_u16(), refused.header("allow")), (405, "GET, HEAD"));
            assert_eq!((refused.header("content-length"), refused.announced), ("0", Some(0)));
        }
    }
}

#[tokio::test]
async fn every_other_path_goes_on_to_the_service() {
    let product = Product::embedded().await;
    for path in ["/", "/oauth", "/oauth/token/", "/oauth/jwks/x", "//oauth/jwks", "/.well-known/", "/OAUTH/JWKS"] {
        assert_eq!(send(&product.endpoints(), get(path)).await.body, "nothing here", "{path}");
    }
}

#[tokio::test]
async fn a_product_without_an_embedded_issuer_answers_nothing_of_one() {
    let product = Product::of(&["http://127.0.0.1:9"]).await;
    let paths =
        ["/oauth/token", "/oauth/revoke", "/oauth/introspect", "/oauth/jwks", "/.well-known/openid-configuration"];
    for path in paths {
        assert_eq!(send(&product.endpoints(), get(path)).await.body, "nothing here", "{path}");
    }
    let resource = send(&product.endpoints(), get("/.well-known/oauth-protected-resource")).await;
    assert_eq!(resource.json()["authorization_servers"], json!(["http://127.0.0.1:9"]));
}

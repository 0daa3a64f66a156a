//! A schema that changes while the product, and what it tells of its things, stays as it is.

use halfbyte_identity::access::{Access, Denied};
use tempfile::TempDir;

use super::*;

/// A product whose policies are in a folder.
struct Product {
    folder: TempDir,
    rules: Live<Rules>,
    access: Access,
    _life: Lifecycle,
}

impl Product {
    async fn start() -> Self {
        let (folder, life) = (tempfile::tempdir().expect("a folder"), life());
        write(folder.path(), &set(&up_to(1)));
        let rules = watch(folder.path()).start(&life);
        rules.ready().await.expect("good");
        let access = Access::new(rules.clone(), ());
        access.check(&ann(), READ, &label(1)).await.expect("permitted before");
        Self { folder, rules, access, _life: life }
    }

    /// Puts a schema in force, with policies that go with it.
    async fn now(&self, schema: &str, policies: &str) {
        let files = [SourceFile::new("p.cedar", policies), SourceFile::new("p.cedarschema", schema)];
        write(self.folder.path(), &files);
        in_force(&self.rules, &version(&files)).await;
    }

    /// Nobody may do it, and it is an error to ask; what it says.
    async fn cannot_ask(&self, label: &Entity) -> String {
        let decision = self.access.decide(&ann(), READ, label).await.expect("a decision");
        assert!(!decision.is_allowed && decision.policies.is_empty(), "{decision:?}");
        let denied = self.access.check(&ann(), READ, label).await.expect_err("denied");
        assert!(matches!(denied, Denied::Forbidden(_)), "{denied:?}");
        let [error] = &decision.errors[..] else { panic!("{decision:?}") };
        error.to_string()
    }
}

#[tokio::test]
async fn an_attribute_that_need_not_be_there_changes_nothing_for_things_without_it() {
    let product = Product::start().await;
    let schema = SCHEMA.replace("size: Long", "size: Long, note?: String");
    product
        .now(
            &schema,
            &format!(
                "{}forbid (principal, action, resource) when {{ resource has note && resource.note == \"no\" }};",
                up_to(2)
            ),
        )
        .await;
    product.access.check(&ann(), READ, &label(2)).await.expect("without a note");
    product.access.check(&ann(), READ, &label(2).attribute("note", "yes")).await.expect("with a note");
    let decision = product.access.decide(&ann(), READ, &label(2).attribute("note", "no")).await.expect("a decision");
    assert!(!decision.is_allowed && decision.errors.is_empty(), "{decision:?}");
}

#[tokio::test]
async fn an_attribute_that_has_to_be_there_denies_things_without_it_until_the_product_tells_it() {
    let product = Product::start().await;
    let schema = SCHEMA.replace("size: Long", "size: Long, grams: Long");
    product.now(&schema, &up_to(2)).await;
    let error = product.cannot_ask(&label(1)).await;
    assert!(error.contains("Label") && error.contains("grams"), "{error}");
    product.access.check(&ann(), READ, &label(1).attribute("grams", 7)).await.expect("told");
}

#[tokio::test]
async fn an_attribute_of_another_type_denies_things_that_have_it_as_it_was() {
    let product = Product::start().await;
    let schema = SCHEMA.replace("size: Long", "size: String");
    product.now(&schema, "permit (principal, action, resource) when { resource.size == \"1\" };").await;
    let error = product.cannot_ask(&label(1)).await;
    assert!(error.contains("Label") && error.contains("size"), "{error}");
}

#[tokio::test]
async fn a_type_that_was_removed_can_no_longer_be_asked_about_and_comes_back_with_its_schema() {
    let product = Product::start().await;
    let permit = "permit (principal, action, resource);";
    product.now(&SCHEMA.replace("Label", "Box").replace("ReadBox", "ReadLabel"), permit).await;
    let error = product.cannot_ask(&label(1)).await;
    assert!(error.contains("Label"), "{error}");
    product.now(&SCHEMA.replace("ReadLabel", "ReadLabels"), permit).await;
    let error = product.cannot_ask(&label(1)).await;
    assert!(error.contains("ReadLabel"), "{error}");
    product.now(SCHEMA, permit).await;
    product.access.check(&ann(), READ, &label(1)).await.expect("as before");
}

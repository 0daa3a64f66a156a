//! What is wrong with policies and schemas is said with file, line and what to do.

use halfbyte_identity::access::{Action, Rules, SourceFile};

/// What is found in a schema and policies; nothing if they are good.
fn found(schema: &str, policies: &str) -> Vec<String> {
    of(&[("p.cedarschema", schema), ("p.cedar", policies)])
}

fn of(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<_> = files.iter().map(|(name, text)| SourceFile::new(*name, *text)).collect();
    match Rules::compile(&files) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.0.iter().map(ToString::to_string).collect(),
    }
}

fn warned(schema: &str, policies: &str) -> Vec<String> {
    let rules = compiled(schema, policies);
    rules.warnings().iter().map(ToString::to_string).collect()
}

fn compiled(schema: &str, policies: &str) -> Rules {
    let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
    Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"))
}

const SCHEMA: &str = r#"entity Label = { tenant: HalfByte::Tenant, sealed: Bool, note?: String };
@scope("labels:read")
action Read, Write appliesTo { principal: [HalfByte::User, HalfByte::Service], resource: Label };
action Purge appliesTo { principal: HalfByte::User, resource: HalfByte::Tenant };
"#;

#[test]
fn schemas_that_cannot_be_are_refused_with_file_line_and_what_to_do() {
    let schema = SCHEMA.replace("Read, Write", "Get, Write");
    for (more, expected) in [
        ("entity Box = { tenant HalfByte::Tenant };", "p.cedarschema:5: unexpected token `HalfByte`; expected "),
        ("entity Box = { of: Boxx };", "p.cedarschema:5: failed to resolve type: Boxx"),
        ("\nentity Label;", "p.cedarschema:1: `Label` is declared twice; see also line 6"),
        (
            "entity Box;\naction Move appliesTo { principal: HalfByte::User, resource: Box };",
            "p.cedarschema:5: Box, to which the action Move applies, has no attribute `tenant`: ",
        ),
        (
            "entity Box = { tenant?: HalfByte::Tenant };\naction Move appliesTo { principal: HalfByte::User, resource: Box };",
            "p.cedarschema:5: Box, to which the action Move applies, need not have its attribute `tenant`: ",
        ),
        (
            "\nentity Box = { tenant: String };\naction Move appliesTo { principal: HalfByte::User, resource: Box };",
            "p.cedarschema:6: Box, to which the action Move applies, has an attribute `tenant` that is no HalfByte::Tenant: ",
        ),
        (
            "namespace A { entity Robot = { tenant: HalfByte::Tenant };\naction Move appliesTo { principal: [Robot, HalfByte::User], resource: Label }; }",
            "p.cedarschema:6: the action A::Move applies to the principal A::Robot, and principals are ",
        ),
        (
            "namespace HalfByte {\n type Profile = {};\n entity Robot; }",
            "p.cedarschema:7: HalfByte::Robot is in the namespace of the base set, in which a product declares `type Profile` and nothing else: ",
        ),
        ("namespace HalfByte { action Write in [Read]; }", "p.cedarschema:5: HalfByte::Write is in the namespace "),
        ("namespace HalfByte { type Scope = String; }", "p.cedarschema:5: HalfByte::Scope is in the namespace "),
        ("namespace HalfByte::More { entity User; }", "p.cedarschema:5: HalfByte::More::User is in the namespace "),
        ("entity Role;", "p.cedarschema:5: Role without a namespace hides HalfByte::Role of the base set: "),
        ("action Read;", "p.cedarschema:5: Read without a namespace hides HalfByte::Read of the base set: "),
        (
            "@scope(\"a b\")\naction Move appliesTo { principal: HalfByte::Service, resource: Label };",
            "p.cedarschema:6: @scope of the action Move is no scope: ",
        ),
        (
            "@scope\naction Move appliesTo { principal: HalfByte::User, resource: Label };",
            "p.cedarschema:6: @scope of the action Move is no scope: ",
        ),
    ] {
        let found = found(&format!("{schema}{more}"), "");
        assert!(found.first().is_some_and(|first| first.starts_with(expected)), "{more}: {found:#?}");
        assert!(found.iter().all(|finding| !finding.contains("halfbyte.")), "{more}: {found:#?}");
    }
}

#[test]
fn policies_that_cannot_be_are_refused_with_file_line_and_what_to_do() {
    let schema = SCHEMA.replace("Read, Write", "Get, Write");
    for (policies, expected) in [
        (
            "permit(principal, action, resource)\n\nforbid(principal, action, resource);",
            "p.cedar:3: unexpected token `(`; expected `{`",
        ),
        (
            "permit(principal, action, resource);\npermit(principal == ?principal, action, resource);",
            "p.cedar:2: this is a template (it has ?principal or ?resource), and templates are not taken: write a policy for each",
        ),
        (
            "@id(\"a\") permit(principal, action, resource);\n@id(\"a\")\nforbid(principal, action, resource);",
            "p.cedar:2: the id a is taken by the policy at p.cedar:1: give it another one",
        ),
        (
            "@id(\"halfbyte.tenant-isolation\") permit(principal, action, resource);",
            "p.cedar:1: the id halfbyte.tenant-isolation begins as those of the base set do (halfbyte.): give it another one",
        ),
        (
            "@id(\"halfbyte.mine\") permit(principal, action, resource);",
            "p.cedar:1: the id halfbyte.mine begins as those of the base set ",
        ),
        ("@id permit(principal, action, resource);", "p.cedar:1: its @id is empty"),
        (
            "@id(\"a\\nb\") permit(principal, action, resource);",
            "p.cedar:1: its @id is empty, over 200 bytes, or has control characters",
        ),
        (
            "permit(principal, action == Action::\"Gett\", resource);",
            "p.cedar:1: unrecognized action `Action::\"Gett\"`; did you mean `Action::\"Get\"`? (in p.cedar:1)",
        ),
        (
            "// one\n@id(\"x\")\npermit(principal, action == Action::\"Get\", resource)\nwhen { resource.seald };",
            "p.cedar:4: attribute `seald` on entity type `Label` not found; did you mean `sealed`? (in x)",
        ),
        (
            "permit(principal, action == Action::\"Get\", resource) when { resource.note == \"\" };",
            "p.cedar:1: unable to guarantee safety of access to optional attribute `note`",
        ),
        ("permit(principal is Robot, action, resource);", "p.cedar:1: unrecognized entity type `Robot`"),
    ] {
        let found = found(&schema, policies);
        assert!(found.first().is_some_and(|first| first.starts_with(expected)), "{policies}: {found:#?}");
    }
}

#[test]
fn all_findings_are_told_at_once_in_the_order_of_files_and_lines() {
    let policies = "permit(principal is A, action, resource);\npermit(principal is B, action, resource);";
    let found = of(&[("b.cedar", policies), ("a.cedar", "permit(")]);
    let places: Vec<_> = found.iter().map(|finding| finding.split(": ").next().unwrap_or_default()).collect();
    assert_eq!(places, ["a.cedar:1", "b.cedar:1", "b.cedar:2"], "{found:#?}");
}

#[test]
fn a_file_name_is_there_once() {
    let found = of(&[("a.cedar", "permit(principal, action, resource);"), ("a.cedar", "")]);
    assert_eq!(found, ["a.cedar: there are two files of this name: give one another name"]);
}

#[test]
fn the_base_set_alone_is_a_set() {
    let rules = Rules::compile(&[]).expect("it is good");
    assert_eq!((rules.len(), rules.warnings().len(), rules.declared_actions().count()), (2, 0, 0));
}

#[test]
fn the_version_is_of_names_and_texts_whatever_their_order() {
    let schema = SourceFile::new("p.cedarschema", SCHEMA.replace("Read, Write", "Get, Write"));
    let version = |files: &[SourceFile]| Rules::compile(files).expect("good").version().clone();
    let policy = |name: &str, text: &str| SourceFile::new(name, text);
    let (one, other) = (policy("a.cedar", "permit(principal, action, resource);"), policy("b.cedar", ""));
    let first = version(&[schema.clone(), one.clone(), other.clone()]);
    assert_eq!(first, version(&[other.clone(), schema.clone(), one.clone()]));
    assert_ne!(first, version(&[schema.clone(), one.clone()]));
    assert_ne!(first, version(&[schema, policy("c.cedar", &one.text), other]));
}

#[test]
fn an_action_that_services_are_to_do_and_never_can_is_a_warning() {
    let schema = "entity Label = { tenant: HalfByte::Tenant };\naction Get appliesTo { principal: HalfByte::Service, resource: Label };";
    let found = warned(schema, "permit(principal, action, resource);");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("p.cedarschema:2: the action Get applies to HalfByte::Service and has no @scope"),
        "{found:#?}"
    );
}

#[test]
fn a_policy_that_never_applies_is_a_warning() {
    let schema = SCHEMA.replace("Read, Write", "Get, Write");
    let found =
        warned(&schema, "permit(principal, action, resource);\npermit(principal, action, resource is HalfByte::Role);");
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("p.cedar:2: "), "{found:#?}");
}

#[test]
fn actions_of_the_same_name_in_two_namespaces_are_two() {
    let one = |namespace: &str| {
        format!(
            "namespace {namespace} {{ @scope(\"{namespace}:send\")\naction Send appliesTo {{ principal: HalfByte::Service, resource: HalfByte::Tenant }}; }}\n"
        )
    };
    let rules = compiled(&[one("Post"), one("Mail")].concat(), "permit(principal, action, resource);");
    assert_eq!(rules.declared_actions().collect::<Vec<_>>(), ["Mail::Send", "Post::Send"]);
    assert_eq!(rules.len(), 2 + 2 + 1);
}

#[test]
fn actions_that_do_not_go_with_schema_and_policies_are_found() {
    let schema = SCHEMA.replace("Read, Write", "Get, Write");
    let policies = r#"
        permit(principal, action == Action::"Get", resource);
        permit(principal is HalfByte::User, action == Action::"Write", resource) when { principal is HalfByte::Service };
        forbid(principal, action == Action::"Purge", resource);
    "#;
    let rules = compiled(&schema, policies);
    let actions = ["Get", "Write", "Send"].map(Action::new);
    let found: Vec<_> = rules.check_actions(&actions).iter().map(ToString::to_string).collect();
    let expected = [
        "the product asks for the action Send, which no schema declares",
        "p.cedarschema:4: the action Purge is declared, and the product never asks for it",
        "p.cedarschema:3: no policy can permit the action Write",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    let good = compiled(&schema, "permit(principal, action, resource);");
    assert_eq!(good.check_actions(&["Get", "Write", "Purge"].map(Action::new)), []);
}

#[test]
fn a_policy_that_is_nested_without_end_is_refused_and_harms_nobody() {
    for (open, close) in
        [("(", ")"), ("!", ""), ("[", "]"), ("{a: ", "}"), ("if true then true else ", ""), ("ip(", ")"), ("-", "")]
    {
        let condition = format!("{}true{}", open.repeat(20_000), close.repeat(20_000));
        let policy = format!("permit(principal, action, resource) when {{ {condition} }};");
        // As the threads of a runtime have it.
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || found("", &policy));
        let found = thread.expect("a thread").join().expect("no overflow");
        assert!(!found.is_empty(), "{open}");
    }
}

#[test]
fn a_policy_of_operators_without_end_is_refused_and_harms_nobody() {
    for (operator, last) in
        [("true || ", "true"), ("true && ", "true"), ("1 + ", "1 == 1"), ("1 * ", "1 == 1"), ("1 - ", "1 == 1")]
    {
        let policy = format!("permit(principal, action, resource) when {{ {}{last} }};", operator.repeat(20_000));
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || found("", &policy));
        let found = thread.expect("a thread").join().expect("no overflow");
        assert!(found[0].contains("operators"), "{operator}: {found:?}");
    }
}

#[test]
fn a_policy_as_long_as_may_be_is_checked_against_the_schema() {
    // A mistake at its end is seen, or that nobody could see it.
    let policy = format!("permit(principal, action, resource) when {{ {}principal.nothing }};", "true && ".repeat(31));
    let thread = std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || found(&SCHEMA.replace("Read, Write", "Get, Write"), &policy));
    let found = thread.expect("a thread").join().expect("no overflow");
    assert!(found[0].contains("nothing") || found[0].contains("too long to be checked"), "{found:?}");
}

#[test]
fn a_policy_as_deep_as_may_be_is_taken_by_a_thread_of_a_runtime() {
    let ifs = "if true then true else ".repeat(39);
    // With the brackets of the condition there are twenty.
    let condition = format!("{}if ({ifs} true) then true else true{}", "true && (".repeat(18), ")".repeat(18));
    let policy = format!("permit(principal, action, resource) when {{ {condition} }};");
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || found("", &policy));
    assert_eq!(thread.expect("a thread").join().expect("no overflow"), [""; 0]);
}

#[test]
fn a_schema_that_is_nested_without_end_is_refused_and_harms_nobody() {
    for (open, close) in [("Set<", ">"), ("{ a: ", "}")] {
        let schema = format!("type Deep = {}Long{};", open.repeat(20_000), close.repeat(20_000));
        let found = found(&schema, "");
        assert_eq!(found, ["p.cedarschema:1: there are more than 20 brackets in each other: write it flatter"]);
    }
}

#[test]
fn a_policy_of_clauses_or_attributes_without_end_is_refused_and_harms_nobody() {
    for condition in [
        "when { principal == resource }".repeat(20_000),
        "unless { false }".repeat(20_000),
        format!("when {{ resource{} }}", "[\"a\"]".repeat(20_000)),
        format!("when {{ {{ a: resource }}{} }}", "[\"a\"]".repeat(20_000)),
    ] {
        let policy = format!("permit(principal, action, resource) {condition};");
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || found("", &policy));
        let found = thread.expect("a thread").join().expect("no overflow");
        assert!(found[0].contains("operators"), "{found:?}");
    }
}

#[test]
fn a_schema_of_names_without_end_is_refused_and_harms_nobody() {
    let chain = |link: &dyn Fn(usize) -> String| (1..20_000).map(link).collect::<String>();
    let doubling =
        (1..45).map(|at| format!("type T{at} = {{ a: T{next}, b: T{next} }};", next = at + 1)).collect::<String>();
    for schema in [
        chain(&|at| format!("type T{at} = T{};", at + 1)),
        chain(&|at| format!("entity T{at} in [T{}];", at + 1)),
        chain(&|at| format!("action T{at} in [T{}];", at + 1)),
        doubling + "type T45 = Long;",
    ] {
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || found(&schema, ""));
        let found = thread.expect("a thread").join().expect("no overflow");
        let said = ["types deep", "each in the next", "parts, with those of"];
        assert!(said.iter().any(|said| found[0].contains(said)), "{found:?}");
    }
}

#[test]
fn a_policy_that_asks_what_another_tenant_has_is_refused_as_it_would_never_forbid() {
    let schema = "entity Project = { tenant: HalfByte::Tenant };
        entity Label = { tenant: HalfByte::Tenant, payer?: HalfByte::Tenant, project: Project };
        action Send appliesTo { principal: HalfByte::User, resource: Label };";
    for good in [
        "resource.tenant has suspended && resource.tenant.suspended",
        "resource has payer && resource.payer.suspended",
        "resource has payer && resource.payer != principal.tenant",
        "resource.project.tenant == resource.tenant",
    ] {
        assert_eq!(
            found(schema, &format!("forbid (principal, action, resource) when {{ {good} }};")),
            [""; 0],
            "{good}"
        );
    }
    for bad in [
        "resource has payer && resource.payer has suspended && resource.payer.suspended",
        "resource.project.tenant has suspended && resource.project.tenant.suspended",
        "HalfByte::Tenant::\"x\" has suspended && HalfByte::Tenant::\"x\".suspended",
    ] {
        let found = found(schema, &format!("\nforbid (principal, action, resource) when {{ {bad} }};"));
        assert!(
            found.len() == 1 && found[0].starts_with("p.cedar:2: it asks with `has` for an attribute"),
            "{found:?}"
        );
        assert!(found[0].contains("a tenant's attributes can be looked at as principal.tenant alone"), "{found:?}");
    }
}

#[test]
fn policies_without_an_id_are_called_by_their_place_also_where_there_are_two_on_a_line() {
    let schema = SCHEMA.replace("Read, Write", "Get, Write");
    let one = "permit(principal, action, resource);";
    assert_eq!(compiled(&schema, &format!("{one} {one}\n{one} {one}{one}")).len(), 4 + 5);
    let found = found(&schema, &format!("{one}{one}\n@id(\"p.cedar:1.2\") {one}"));
    assert_eq!(found, ["p.cedar:2: the id p.cedar:1.2 is taken by the policy at p.cedar:1: give it another one"]);
}

#[test]
fn actions_of_one_full_name_are_refused_and_each_place_is_named() {
    let of =
        |name: &str| format!("action {name} appliesTo {{ principal: HalfByte::User, resource: HalfByte::Tenant }};");
    let twice = |one: String, other: String| {
        let files = [
            SourceFile::new("one.cedarschema", format!("\n{one}")),
            SourceFile::new("other.cedarschema", other),
            SourceFile::new("p.cedar", "permit (principal, action, resource);"),
        ];
        let found = Rules::compile(&files).map(|_| ()).map_err(|invalid| invalid.to_string());
        found.err().unwrap_or_default()
    };
    let in_a = |action: &str| format!("namespace A {{\n{} }}", of(action));
    let said = twice(of("\"A::B\""), in_a("B"));
    assert!(
        said.contains("other.cedarschema:2: the action A::B has the same full name as the one at one.cedarschema:2"),
        "{said}"
    );
    let said = twice(format!("namespace A::B {{ {} }}", of("C")), in_a("\"B::C\""));
    assert!(
        said.contains("other.cedarschema:2: the action A::B::C has the same full name as the one at one.cedarschema:2"),
        "{said}"
    );
    // In one file, and three of them.
    let said = twice([of("\"A::B::C\""), in_a("\"B::C\"")].join("\n"), format!("namespace A::B {{ {} }}", of("C")));
    assert!(
        said.contains("one.cedarschema:4: the action A::B::C")
            && said.contains("other.cedarschema:1: the action A::B::C"),
        "{said}"
    );
    // A group of actions, and what the base set has.
    let said = twice("action \"A::B\";".to_owned(), in_a("B"));
    assert!(said.contains("other.cedarschema:2: the action A::B has"), "{said}");
    let said = twice(of("\"HalfByte::Read\""), of("B"));
    assert!(
        said.contains("one.cedarschema:2: the action HalfByte::Read has the same full name as one of the base set"),
        "{said}"
    );
    // Written otherwise, and yet the same.
    let said = twice(of("\"A::\\u{42}\""), in_a("B"));
    assert!(said.contains("other.cedarschema:2: the action A::B has the same full name as another one"), "{said}");
    assert_eq!(twice(of("C"), in_a("B")), "");
    assert_eq!(twice(of("\"A::C\""), in_a("B")), "");
}

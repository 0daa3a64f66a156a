use halfbyte_identity::access::{Asked, Entity, EntityRef, Membership, Rules, SourceFile, Value};

use crate::office::{in_folder, label, rules, rules_with, service, tenant, user};

fn explained(asked: &Asked) -> String {
    rules().explain(asked).to_string()
}

#[test]
fn what_is_allowed_names_the_policy_its_reason_and_its_text() {
    let ann = user("ann", "acme", &[]);
    assert_eq!(
        explained(&Asked::new(&ann, "ReadLabel", &label("acme", &ann))),
        r#"ALLOWED: User "acme/ann" may ReadLabel Label "l-1"

Permitted by:
  owners (parcel.cedar:4): a label is its owner's
      permit (principal, action in [Action::"ReadLabel", Action::"EditLabel"], resource)
      when { resource.owner == principal };
"#
    );
}

#[test]
fn a_missing_role_is_named_with_the_roles_there_are() {
    let asked = |roles: &[&str]| Asked::new(&user("bob", "acme", roles), "CreateLabel", &tenant("acme"));
    assert_eq!(
        explained(&asked(&["driver", "cook"])),
        r#"DENIED: User "acme/bob" may not CreateLabel Tenant "acme"

No policy permits it. Those that could, nearest first:
  clerks-create (parcel.cedar:1)
    - the principal has not the role "clerk"; it has: "driver", "cook"
  parcel.cedar:14
    - it is for a Service, and the principal is a User
"#
    );
    assert!(explained(&asked(&[])).contains(r#"the role "clerk"; it has: none"#));
}

#[test]
fn each_part_of_a_condition_that_does_not_hold_is_named_and_those_that_hold_are_not() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "acme", &[]));
    let heavy = label("acme", &ann).attribute("weight", Value::Long(101));
    let member = Membership {
        profile: vec![("department", Value::from("law"))],
        groups: vec![EntityRef::new("HalfByte::Group", "hall")],
    };
    let asked = Asked::new(&bob, "ReadLabel", &heavy).member(member);
    assert_eq!(
        explained(&asked),
        r#"DENIED: User "acme/bob" may not ReadLabel Label "l-1"

No policy permits it. Those that could, nearest first:
  owners (parcel.cedar:4): a label is its owner's
    - this does not hold: when { resource.owner == principal }
  desk (parcel.cedar:9)
    - the principal is not in the group "desk"; it is in: "hall"
    - the resource is not in Folder "open"
    - this does not hold: when { principal.profile.department == "sales" }
    - this stands in the way: unless { resource.weight > 100 }
  parcel.cedar:14
    - it is for a Service, and the principal is a User
"#
    );
    // What stands behind `has` cannot be evaluated, and is not held against the policy.
    let explanation = rules().explain(&Asked::new(&bob, "ReadLabel", &in_folder(heavy)));
    let desk = explanation.nearest.iter().find(|near| &*near.policy.id == "desk").expect("it could permit");
    assert_eq!(desk.lacks.len(), 3, "{desk:?}");
    let text = explanation.to_string();
    assert!(text.contains("this does not hold: when { principal.profile has department }"), "{text}");
    assert!(!text.contains("\"sales\""), "{text}");
}

#[test]
fn values_are_shown_only_where_they_are_asked_for() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "acme", &[]));
    let secret = label("acme", &ann).attribute("weight", Value::Long(987_654)).attribute("note", "canary");
    let asked = Asked::new(&bob, "ReadLabel", &secret);
    let (without, with) = (explained(&asked), rules().explain_with_values(&asked).to_string());
    assert!(!without.contains("987654") && !without.contains("acme/ann"), "{without}");
    assert!(with.contains("        resource.owner is User \"acme/ann\"\n"), "{with}");
    assert!(with.contains("resource.weight is 987654"), "{with}");
    assert!(!with.contains("canary"), "only what decides: {with}");
    assert!(!format!("{asked:?}").contains("canary"), "{asked:?}");
}

#[test]
fn what_a_policy_forbids_says_whether_it_would_be_permitted_but_for_that() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "acme", &[]));
    let sealed = label("acme", &ann).attribute("sealed", true);
    assert_eq!(
        explained(&Asked::new(&ann, "EditLabel", &sealed)),
        r#"DENIED: User "acme/ann" may not EditLabel Label "l-1"

Forbidden by:
  sealed (parcel.cedar:16): a sealed label stays as it is
      forbid (principal, action == Action::"EditLabel", resource)
      when { resource.sealed };

But for that, it would be permitted by:
  owners (parcel.cedar:4): a label is its owner's
"#
    );
    let text = explained(&Asked::new(&bob, "EditLabel", &sealed));
    assert!(text.contains("Nor does any policy permit it. Those that could, nearest first:\n  owners"), "{text}");
}

#[test]
fn what_the_base_set_forbids_is_said_in_plain_words_with_what_to_do() {
    let ann = user("ann", "acme", &[]);
    let text = explained(&Asked::new(&ann, "ReadLabel", &label("globex", &ann)));
    assert!(
        text.contains(
            "Forbidden by:\n  halfbyte.tenant-isolation (base set): what is asked for belongs to another tenant\n    \
             ask for what belongs to tenant \"acme\", or sign in to the tenant that it belongs to\n"
        ),
        "{text}"
    );
    let text = explained(&Asked::new(&ann, "EditLabel", &label("acme", &ann)).suspended());
    assert!(text.contains("lift the suspension of tenant \"acme\"; until then do only what reads"), "{text}");
    let text = explained(&Asked::new(&service(&[]), "CreateLabel", &tenant("acme")));
    assert!(text.contains("at its issuer: principal.scopes.contains(\"labels:write\")"), "{text}");
    let text = explained(&Asked::new(&service(&["labels:write"]), "Ship", &label("acme", &ann)));
    assert!(text.contains("give the action a @scope in the schema if one should"), "{text}");
}

#[test]
fn what_cannot_be_evaluated_denies_and_says_what_to_do() {
    let ann = user("ann", "acme", &["driver"]);
    let heavy = label("acme", &ann).attribute("weight", Value::Long(i64::MAX));
    let explanation = rules().explain(&Asked::new(&ann, "Ship", &heavy));
    assert!(!explanation.decision.is_allowed);
    let text = explanation.to_string();
    assert!(
        text.contains("Not all could be evaluated, and then nothing is allowed:\n  heavy (parcel.cedar:21)"),
        "{text}"
    );
    assert!(text.contains("keep the numbers smaller, or compare before adding up"), "{text}");
    assert!(!text.contains(&i64::MAX.to_string()), "{text}");
}

#[test]
fn a_question_that_does_not_fit_the_schema_is_explained_and_shows_no_value() {
    let ann = user("ann", "acme", &[]);
    let text = explained(&Asked::new(&ann, "Fly", &label("acme", &ann)));
    assert!(
        text.contains(
            r#"the schema has no action "Fly"; it has CreateLabel, EditLabel, HalfByte::Read, ReadLabel, Ship"#
        ),
        "{text}"
    );
    let text = explained(&Asked::new(&ann, "ReadLabel", &Entity::new("Parcel", "p-1")));
    assert!(text.contains("the schema has no entity Parcel"), "{text}");
    let text = explained(&Asked::new(&ann, "ReadLabel", &label("acme", &ann).attribute("weight", "canary")));
    assert!(text.contains("the attribute weight of Label::\"l-1\" is not of the type that the schema says"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}

#[test]
fn an_action_that_no_policy_is_about_says_so_and_no_more_than_a_handful_is_shown() {
    let ann = user("ann", "acme", &[]);
    let text = rules_with("").explain(&Asked::new(&ann, "Ship", &label("acme", &ann))).to_string();
    assert!(text.ends_with("No policy permits it. None is about Ship: write one.\n"), "{text}");

    let many: String = (0..8)
        .map(|n| format!("@id(\"p{n}\") permit (principal in HalfByte::Role::\"r{n}\", action, resource);\n"))
        .collect();
    let explanation = rules_with(&many).explain(&Asked::new(&ann, "Ship", &label("acme", &ann)));
    assert_eq!((explanation.nearest.len(), explanation.further), (5, 3));
    assert!(explanation.to_string().ends_with("  and 3 more\n"), "{explanation}");
}

#[test]
fn the_conditions_of_a_policy_for_another_type_are_not_held_against_it() {
    let policy = r#"@id("programs") permit (principal is HalfByte::Service, action == Action::"Ship", resource) when { resource has note };"#;
    let ann = user("ann", "acme", &[]);
    let why = rules_with(policy).explain(&Asked::new(&ann, "Ship", &label("acme", &ann)));
    let lacks: Vec<_> = why.nearest.iter().flat_map(|near| &near.lacks).map(|lack| &**lack).collect();
    assert_eq!(lacks, ["it is for a Service, and the principal is a User"]);
    let programs = rules_with(policy).explain(&Asked::new(&service(&[]), "Ship", &label("acme", &ann)));
    assert_eq!(programs.nearest.len(), 1, "{programs}");
    assert!(programs.nearest[0].lacks[0].contains("resource has note"), "{programs}");
}

#[test]
fn of_what_is_another_tenants_nothing_else_is_said() {
    let (ann, bob) = (user("ann", "acme", &[]), user("bob", "globex", &[]));
    let why = rules().explain(&Asked::new(&ann, "ReadLabel", &label("globex", &bob)));
    assert!(why.nearest.is_empty() && why.outweighed.is_empty(), "{why}");
    assert!(!why.to_string().contains("permit"), "{why}");
}

#[test]
fn an_action_is_known_by_its_whole_name_as_a_decision_knows_it() {
    let action = |name: &str| {
        format!("action {name} appliesTo {{ principal: [HalfByte::User], resource: [HalfByte::Tenant] }};")
    };
    let schema = format!(
        "{} namespace Parcel {{ {} }} namespace Mail {{ {} }}",
        action("\"Odd::Send\""),
        action("Send"),
        action("Send")
    );
    let policies = r#"
        @id("odd") permit (principal, action == Action::"Odd::Send", resource);
        @id("mail") permit (principal, action == Mail::Action::"Send", resource);
    "#;
    let files = [SourceFile::new("p.cedarschema", schema), SourceFile::new("p.cedar", policies)];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    let ann = user("ann", "acme", &[]);
    let by = |action| {
        let why = rules.explain(&Asked::new(&ann, action, &tenant("acme")));
        assert!(why.errors.is_empty(), "{why}");
        why.decision.policies.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        (by("Odd::Send"), by("Mail::Send"), by("Parcel::Send")),
        (vec!["odd".into()], vec!["mail".into()], vec![])
    );
    let who = |action| rules.who_can(action, "HalfByte::Tenant").expect("an answer").permits.len();
    assert_eq!((who("Odd::Send"), who("Mail::Send"), who("Parcel::Send")), (1, 1, 0));
    let why = rules.explain(&Asked::new(&ann, "Send", &tenant("acme")));
    assert!(why.to_string().contains("it has HalfByte::Read, Mail::Send, Odd::Send, Parcel::Send"), "{why}");
}

#[test]
fn however_much_there_is_what_is_shown_is_bounded() {
    let ann = user("ann", "acme", &["driver"]);
    let shipped = label("acme", &ann);
    let lines =
        |policy: &str, count: usize| (0..count).map(|n| policy.replace("NUMBER", &n.to_string())).collect::<String>();
    // Policies that decide, that are outweighed, and errors.
    let permit = "@id(\"p-NUMBER\") permit (principal, action == Action::\"Ship\", resource) when { resource.weight > NUMBER - 900 };\n";
    let forbid = "@id(\"f-NUMBER\") forbid (principal, action == Action::\"Ship\", resource) when { resource.weight > NUMBER - 900 };\n";
    let wrong = "@id(\"e-NUMBER\") forbid (principal, action == Action::\"Ship\", resource) when { resource.weight + 9223372036854775807 > NUMBER };\n";
    let why = rules_with(&[lines(permit, 30), lines(forbid, 25)].concat());
    let why = why.explain(&Asked::new(&ann, "Ship", &shipped));
    assert_eq!((why.decided.len(), why.outweighed.len(), why.outweighed_further), (20, 20, 10));
    let text = why.to_string();
    assert!(text.contains("  and 5 more\n") && text.ends_with("  and 10 more\n"), "{text}");
    let why = rules_with(&lines(wrong, 30)).explain(&Asked::new(&ann, "Ship", &shipped));
    assert_eq!((why.errors.len(), why.decision.errors.len()), (20, 30));
    assert!(why.to_string().contains("  and 10 more\n"), "{why}");
    // Conditions, a long one, and roles.
    let conditions: String = (0..15).map(|n| format!("when {{ resource.weight > {} }}\n", n + 1000)).collect();
    let long =
        format!("unless {{ [{}].contains(resource.weight) || !resource.sealed }}", "1234567, ".repeat(500) + "3");
    let policy = format!(
        "@id(\"long\") permit (principal in HalfByte::Role::\"chief\", action == Action::\"Ship\", resource)\n{long}\n{conditions};"
    );
    let roles: Vec<String> = (0..30).map(|n| format!("role-{n}")).collect();
    let chief = user("ann", "acme", &roles.iter().map(String::as_str).collect::<Vec<_>>());
    let rules = rules_with(&policy);
    let asked = Asked::new(&chief, "Ship", &shipped.clone().attribute("note", "x".repeat(100_000)));
    let text = rules.explain_with_values(&asked).to_string();
    assert!(text.contains("\"role-19\", and 10 more") && text.contains("    - and 7 more conditions"), "{text}");
    assert!(text.contains(" bytes in all)") && text.len() < 8000, "{} bytes: {text}", text.len());
    let text = rules.who_can("Ship", "Label").expect("an answer").to_string();
    assert!(text.contains(" bytes in all)"), "{text}");
    let text = rules_with(&lines(permit, 60)).who_can("Ship", "Label").expect("an answer").to_string();
    assert!(text.contains("  and 10 more\n") && text.matches("by p-").count() == 50, "{text}");
    let tall = format!(
        "permit (principal, action == Action::\"Ship\", resource)\nwhen {{ [{}].contains(resource.weight) }};",
        "3,\n".repeat(40) + "3"
    );
    let text = rules_with(&tall).explain(&Asked::new(&ann, "Ship", &shipped)).to_string();
    assert!(text.ends_with("      ... and 12 more lines\n") && text.lines().count() == 35, "{text}");
    // What is asked, however it is called.
    let text = rules.explain(&Asked::new(&chief, &"Ship".repeat(10_000), &shipped)).to_string();
    assert!(text.len() < 4000, "{} bytes", text.len());
}

#[test]
fn a_policy_about_a_group_of_actions_could_permit_those_in_it_and_no_others() {
    let ann = user("ann", "acme", &[]);
    let auditors = r#"@id("auditors") permit (principal in HalfByte::Role::"auditor", action in HalfByte::Action::"Read", resource);"#;
    let rules = rules_with(auditors);
    let near = |action| rules.explain(&Asked::new(&ann, action, &label("acme", &ann))).nearest.len();
    assert_eq!((near("ReadLabel"), near("EditLabel")), (1, 0));
}

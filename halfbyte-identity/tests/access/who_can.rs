use crate::office::{rules, rules_with};

#[test]
fn those_who_could_are_named_in_words_with_what_else_must_hold_and_what_forbids() {
    assert_eq!(
        rules().who_can("EditLabel", "Label").expect("an answer").to_string(),
        r#"Who can EditLabel a Label:
  any User
      when { resource.owner == principal }
      by owners (parcel.cedar:4): a label is its owner's
  any Service
      by parcel.cedar:14

But not where one of these forbids it:
  any User or Service
      when { resource.sealed }
      by sealed (parcel.cedar:16): a sealed label stays as it is
  any Service
      by halfbyte.granted.EditLabel (base set): a service may do only what it was granted
  any User or Service
      when { principal.tenant.suspended }
      unless { action in HalfByte::Action::"Read" }
      by halfbyte.suspended-reads-only (base set): the tenant is suspended, and may only read
  any User or Service
      unless { principal.tenant == resource.tenant }
      by halfbyte.tenant-isolation (base set): what is asked for belongs to another tenant
"#
    );
    let text = rules().who_can("ReadLabel", "Label").expect("an answer").to_string();
    assert!(text.contains("  any User or Service in Group \"desk\", for what is in Folder \"open\"\n"), "{text}");
    assert!(!text.contains("clerks-create") && !text.contains("halfbyte.granted.EditLabel"), "{text}");
}

#[test]
fn what_nobody_can_do_is_said_and_what_does_not_exist_is_named_with_what_does() {
    let text = rules_with("").who_can("Ship", "Label").expect("an answer").to_string();
    assert_eq!(text, "Nobody can Ship a Label: no policy permits it.\n");
    let unknown = |action, kind| rules().who_can(action, kind).expect_err("no such thing").to_string();
    assert!(unknown("Fly", "Label").contains("it has CreateLabel, EditLabel"));
    assert_eq!(unknown("Ship", "Parcel"), "the schema has no entity Parcel");
    assert_eq!(unknown("Ship", "HalfByte::Tenant"), "Ship is not about HalfByte::Tenant, but about Label");
}

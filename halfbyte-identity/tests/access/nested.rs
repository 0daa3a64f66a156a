//! Things in things in things: whoever makes them cannot stop whoever decides on them.

use halfbyte_core::{BoxError, Live, Principal};
use halfbyte_identity::access::{
    Access, Action, Decision, Entity, EntityProvider, EntityRef, Membership, Rules, SourceFile,
};

use crate::parcel::{tenant, user};

const READ: Action = Action::new("ReadFolder");
const SCHEMA: &str = r#"
entity Folder in [Folder] = { tenant: HalfByte::Tenant };
action ReadFolder appliesTo { principal: [HalfByte::User], resource: [Folder] };
"#;
const POLICIES: &str = r#"
@id("all") permit (principal, action, resource);
@id("closed") forbid (principal, action, resource in Folder::"f0");
"#;

/// Folder `f1` stands in `f0`, `f2` in `f1`, and so on, and `p0` in `p1`, `p2` in `p3`; groups as folders `f`, if they are not flat.
#[derive(Default)]
struct Product {
    groups: usize,
    is_flat: bool,
}

fn group(number: usize) -> EntityRef {
    EntityRef::new("HalfByte::Group", format!("g{number}"))
}

fn named(kind: &str, number: usize) -> EntityRef {
    EntityRef::new("Folder", format!("{kind}{number}"))
}

fn folder(number: usize) -> Entity {
    let folder = Entity::named(named("f", number)).of_tenant(&tenant("acme"));
    if number == 0 { folder } else { folder.parent(named("f", number - 1)) }
}

fn pair(number: usize) -> Entity {
    let folder = Entity::named(named("p", number)).of_tenant(&tenant("acme"));
    if number.is_multiple_of(2) { folder.parent(named("p", number + 1)) } else { folder }
}

impl EntityProvider for Product {
    async fn principal(&self, _: &Principal) -> Result<Membership, BoxError> {
        Ok(Membership { groups: (0..self.groups).map(group).collect(), ..Membership::default() })
    }

    async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
        let number = name.id()[1..].parse()?;
        Ok(match (name.kind(), &name.id()[..1]) {
            ("Folder", "f") => Some(folder(number)),
            ("Folder", "p") => Some(pair(number)),
            ("HalfByte::Group", _) if !self.is_flat => {
                let it = Entity::named(name.clone());
                Some(if number == 0 { it } else { it.parent(group(number - 1)) })
            }
            _ => None,
        })
    }
}

fn access(product: Product) -> Access {
    let files = [SourceFile::new("t.cedarschema", SCHEMA), SourceFile::new("t.cedar", POLICIES)];
    let rules = Rules::compile(&files).unwrap_or_else(|invalid| panic!("{invalid}"));
    Access::new(Live::fixed("access", rules), product)
}

fn ann() -> Principal {
    user("ann", "acme", &[])
}

/// On a thread with no more of a stack than a runtime's workers have.
fn on_a_worker<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let run = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work);
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(run).expect("a thread");
    thread.join().expect("it comes to an end")
}

fn reasons(decision: &Decision) -> String {
    decision.errors.iter().map(ToString::to_string).collect()
}

fn too_far(name: &EntityRef) -> String {
    format!("what {name} stands in or leads to is more than 16 steps away")
}

#[test]
fn a_list_of_folders_each_in_the_next_ends_and_what_is_deep_is_denied() {
    on_a_worker(async {
        let access = access(Product::default());
        let folders: Vec<_> = (0..2000).map(folder).collect();
        let decisions = access.check_all(&ann(), READ, &folders).await.expect("decisions");
        for (number, decision) in decisions.iter().enumerate() {
            assert!(!decision.is_allowed);
            let expected = if number <= 16 { String::new() } else { too_far(folders[number].name()) };
            assert_eq!(reasons(decision), expected, "{number}");
        }
        for number in [0, 1, 16, 17, 1999] {
            let alone = access.decide(&ann(), READ, &folders[number]).await.expect("a decision");
            assert_eq!(alone, decisions[number], "{number}");
        }
    });
}

#[test]
fn a_folder_that_stands_directly_in_each_of_a_chain_is_denied() {
    on_a_worker(async {
        let access = access(Product::default());
        let wide = |count: usize| {
            let it = Entity::new("Folder", "wide").of_tenant(&tenant("acme"));
            (0..count).fold(it, |it, number| it.parent(named("f", number)))
        };
        for (count, expected) in [(16, String::new()), (17, too_far(wide(0).name())), (256, too_far(wide(0).name()))] {
            let alone = access.decide(&ann(), READ, &wide(count)).await.expect("a decision");
            assert!(!alone.is_allowed);
            assert_eq!(reasons(&alone), expected, "{count}");
            let list = [wide(count), pair(1), folder(1)];
            let decisions = access.check_all(&ann(), READ, &list).await.expect("decisions");
            assert_eq!(decisions[0], alone);
            assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true, false]);
        }
    });
}

#[test]
fn who_is_in_each_of_many_groups_in_each_other_is_denied_whatever_he_asks_for() {
    on_a_worker(async {
        for (groups, expected) in [(16, true), (18, false), (900, false)] {
            let access = access(Product { groups, is_flat: false });
            let list = [pair(0), pair(1), folder(1000)];
            let decisions = access.check_all(&ann(), READ, &list).await.expect("decisions");
            assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [expected, expected, false]);
            let alone = access.decide(&ann(), READ, &pair(0)).await.expect("a decision");
            assert_eq!(alone, decisions[0]);
            if !expected {
                assert_eq!(reasons(&alone), too_far(&EntityRef::new("HalfByte::User", "acme/ann")));
            }
        }
    });
}

#[test]
fn who_is_in_groups_each_of_which_is_in_all_of_the_next_is_denied() {
    struct Layers(usize);

    impl EntityProvider for Layers {
        async fn principal(&self, _: &Principal) -> Result<Membership, BoxError> {
            Ok(Membership { groups: (0..self.0).map(group).collect(), ..Membership::default() })
        }

        async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
            let next = name.id()[1..].parse::<usize>()? / self.0 + 1;
            let outside = (next * self.0..(next + 1) * self.0).filter(|_| next < 15);
            Ok(Some(outside.fold(Entity::named(name.clone()), |it, number| it.parent(group(number)))))
        }
    }

    on_a_worker(async {
        let files = [SourceFile::new("t.cedarschema", SCHEMA), SourceFile::new("t.cedar", POLICIES)];
        let rules = Live::fixed("access", Rules::compile(&files).expect("rules"));
        for (width, expected) in [(16, ""), (18, "more than 4096 ways"), (64, "more than 4096 ways")] {
            let access = Access::new(rules.clone(), Layers(width));
            let thing = Entity::new("Folder", "plain").of_tenant(&tenant("acme"));
            let decision = access.decide(&ann(), READ, &thing).await.expect("a decision");
            assert_eq!(decision.is_allowed, expected.is_empty());
            assert!(reasons(&decision).contains(expected), "{width}: {decision:?}");
        }
    });
}

#[test]
fn what_has_too_many_ways_around_it_does_not_deny_what_stands_beside_it_in_a_list() {
    struct Shelves;

    impl EntityProvider for Shelves {
        /// `d` are fifteen layers of sixteen, each in all of the next; `f` as ever.
        async fn entity(&self, name: &EntityRef) -> Result<Option<Entity>, BoxError> {
            let (kind, number) = (&name.id()[..1], name.id()[1..].parse::<usize>()?);
            if kind == "f" {
                return Ok(Some(folder(number)));
            }
            let next = (number / 16 + 1) * 16;
            let outside = (next..next + 16).filter(|_| next < 15 * 16);
            let it = Entity::named(name.clone()).of_tenant(&tenant("acme"));
            Ok(Some(outside.fold(it, |it, number| it.parent(named("d", number)))))
        }
    }

    on_a_worker(async {
        let policies = r#"permit (principal, action, resource in Folder::"f0");"#;
        let files = [SourceFile::new("t.cedarschema", SCHEMA), SourceFile::new("t.cedar", policies)];
        let access = Access::new(Live::fixed("access", Rules::compile(&files).expect("rules")), Shelves);
        let dense = Entity::new("Folder", "dense").of_tenant(&tenant("acme"));
        let dense = (0..16).fold(dense, |it, number| it.parent(named("d", number)));
        let decisions = access.check_all(&ann(), READ, &[dense, folder(14)]).await.expect("decisions");
        assert!(reasons(&decisions[0]).contains("more than 1024 ways"), "{:?}", decisions[0]);
        assert!(decisions[1].is_allowed, "{:?}", decisions[1]);
    });
}

#[test]
fn who_is_in_many_groups_may_ask_for_lists_of_things_in_each_other() {
    on_a_worker(async {
        let access = access(Product { groups: 1024, is_flat: true });
        let pairs: Vec<_> = (0..400).map(pair).collect();
        assert_eq!(access.filter(&ann(), READ, pairs).await.expect("a list").len(), 400);
    });
}

#[test]
fn a_list_counts_each_as_it_is_given_and_what_it_stands_in_as_the_provider_knows_it() {
    on_a_worker(async {
        let access = access(Product::default());
        // The provider says that it stands in `p1`.
        let elsewhere = Entity::named(named("p", 0)).of_tenant(&tenant("acme")).parent(named("f", 1));
        let inside = Entity::new("Folder", "x1").of_tenant(&tenant("acme")).parent(named("p", 0));
        let itself = Entity::named(named("p", 1)).of_tenant(&tenant("acme")).parent(named("p", 0));
        let list = [elsewhere, inside, itself, pair(0), pair(1)];
        let decisions = access.check_all(&ann(), READ, &list).await.expect("decisions");
        assert_eq!(decisions.iter().map(|it| it.is_allowed).collect::<Vec<_>>(), [false, true, false, true, true]);
        assert_eq!(reasons(&decisions[2]), "something stands in itself");
        for (thing, of_list) in list.iter().zip(&decisions) {
            assert_eq!(access.decide(&ann(), READ, thing).await.expect("a decision"), *of_list);
        }
    });
}

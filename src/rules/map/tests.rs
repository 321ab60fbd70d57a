//! Maps: what is found under which key, and what is said about a file that is wrong.
//!
//! **In**: files as text, recipients as clients spell them. **Out**: new recipients and pools; errors with their lines.
//! **Never**: asks a rule; `rules::tests` does.

use std::fs;

use super::*;
use crate::rules::map::read::Reading;

const POOLS: [&str; 3] = ["branch", "legacy", "main"];

fn read(text: &[u8]) -> Result<Map, String> {
    let mut reading = Reading::new(&POOLS);
    reading.lines(text).unwrap();
    reading.end(FilePath::new("r.map")).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

/// What becomes of a recipient: `recipient pool`, each `-` where it is as before; nothing where the map is silent.
fn becomes(map: &Map, recipient: &str) -> String {
    let path = Path::parse(recipient.as_bytes()).unwrap();
    let Some(entry) = map.find(&Canonical::of(&path)) else { return String::new() };
    let to = entry.recipient(path).map_or("-".to_owned(), |to| String::from_utf8(to.into()).unwrap());
    format!("{to} {}", entry.pool.map_or("-", |pool| POOLS[usize::from(pool.0)]))
}

#[test]
fn the_most_telling_key_counts() {
    let map = read(
        b"\xef\xbb\xbf# a comment\r\n\
          \n   \n  # another\n\
          joe@ex.test\tjoseph@store.test\r\n\
          \"j. doe\"@ex.test \"jane doe\"@store.test upstream:main\n\
          @ex.test @new.test\n\
          other.test upstream:branch\n\
          .ex.test upstream:legacy\n\
          .deep.sub.ex.test upstream:legacy @deep.test\n\
          Postmaster root@store.test\n\
          @[192.0.2.1] a@b.test\n\
          [192.0.2.2] upstream:main\n\
          b\xc3\xbccher@m\xc3\xbcller.test a@b.test\n\
          same@ex.test SAME@ex.test upstream:main\n\
          <angle@ex.test> <c@d.test>",
    )
    .unwrap();
    assert_eq!(map.len(), 12);
    let table = [
        ("joe@ex.test", "joseph@store.test -"),
        ("JOE@EX.TEST.", "joseph@store.test -"),
        ("\"j\\oe\"@ex.test", "joseph@store.test -"),
        ("@relay.test:joe@ex.test", "joseph@store.test -"),
        ("\"j. doe\"@ex.test", "\"jane doe\"@store.test main"),
        ("ann@ex.test", "ann@new.test -"),
        ("\"a b\"@ex.test", "\"a b\"@new.test -"),
        ("\"\"@ex.test", "\"\"@new.test -"),
        ("ann@sub.ex.test", "- legacy"),
        ("ann@other.test", "- branch"),
        ("ann@sub.other.test", ""),
        ("ann@sub.ex.test", "- legacy"),
        ("ann@a.b.c.sub.ex.test", "- legacy"),
        ("ann@deep.sub.ex.test", "- legacy"),
        ("ann@x.deep.sub.ex.test", "ann@deep.test legacy"),
        ("postmaster", "root@store.test -"),
        ("postmaster@ex.test", "postmaster@new.test -"),
        ("joe@[192.0.2.1]", "a@b.test -"),
        ("joe@[192.0.2.2]", "- main"),
        ("joe@[192.0.2.3]", ""),
        ("b\u{fc}cher@xn--mller-kva.test", "a@b.test -"),
        ("B\u{dc}CHER@M\u{dc}LLER.test", "a@b.test -"),
        ("SAME@ex.test", "- main"),
        ("angle@ex.test", "c@d.test -"),
        ("ann@test", ""),
        ("ex.test@nowhere.test", ""),
    ];
    for (recipient, expected) in table {
        assert_eq!(becomes(&map, recipient), expected, "{recipient}");
    }
    assert!(Map::default().find(&Canonical::parse("a@b.test").unwrap()).is_none());
}

#[test]
fn the_same_twice_is_no_error() {
    let map = read(b"a@x.test b@x.test\nA@X.test b@x.test\nc@x.test d@x.test\n").unwrap();
    assert_eq!(map.len(), 2);
    assert_eq!(becomes(&map, "c@x.test"), "d@x.test -");
}

#[test]
fn everything_that_is_wrong_is_said_with_its_line() {
    let text: &[u8] = b"a@x.test b@x.test\n\
        joe b@x.test\n\
        *@x.test b@x.test\n\
        c@x.test\n\
        c@x.test joe\n\
        c@x.test smtp:[192.0.2.1]:25\n\
        c@x.test upstream:brnch\n\
        c@x.test upstream:elsewhere\n\
        c@x.test d@x.test e@x.test\n\
        c@x.test d@x.test, e@x.test\n\
        c@x.test upstream:main upstream:branch\n\
        A@x.TEST. b@x.test\n\
        A@x.TEST. c@x.test\n\
        \td@x.test\n\
        a@@x.test b@x.test\n\
        <> b@x.test\n\
        c@x.test <>\n\
        @.x.test b@x.test\n\
        \"\"@x.test b@x.test\n\
        \"joe b@x.test\n\
        @r.test:c@x.test @r.test:d@x.test\n\
        c@x.test d@x.test\x00\n\
        c@x.test \xff@x.test\n\
        d@x.test a d@x.test\n\
        . b@x.test\n";
    let wanted = "\
r.map:2: \"joe\" has no domain; write joe@example.com, or @ before the name of a domain
r.map:3: \"*@x.test\" is a pattern; write @example.com for a domain, .example.com for all below it
r.map:4: nothing stands behind \"c@x.test\"; write an address, @domain or upstream:NAME
r.map:5: \"joe\" has no domain
r.map:6: expected an address, @domain or upstream:NAME, found \"smtp:[192.0.2.1]:25\"
r.map:7: no upstream is called \"brnch\", did you mean \"branch\"?
r.map:8: no upstream is called \"elsewhere\"; known: branch, legacy, main
r.map:9: \"e@x.test\" is too much: a recipient becomes one address, at one upstream
r.map:10: expected an address, @domain or upstream:NAME, found \"d@x.test,\"
r.map:11: \"upstream:branch\" is too much: a recipient becomes one address, at one upstream
r.map:13: \"A@x.TEST.\" stands at line 1 already, and there it becomes another
r.map:14: begins with white space: a line cannot be continued, write it as one
r.map:15: \"a@@x.test\" is no address
r.map:16: \"<>\" has no domain; write joe@example.com, or @ before the name of a domain
r.map:17: expected an address, @domain or upstream:NAME, found \"<>\"
r.map:18: \"@.x.test\" is no address
r.map:19: \"\\\"\\\"@x.test\" is no address
r.map:20: \"\\\"joe b@x.test\" is no address
r.map:21: \"@r.test:c@x.test\" is no address
r.map:22: expected an address, @domain or upstream:NAME, found \"d@x.test\\0\"
r.map:23: not UTF-8
r.map:24: \"a\" has no domain
r.map:25: \".\" is no address";
    assert_eq!(read(text).unwrap_err(), wanted);
}

#[test]
fn what_is_wrong_without_end_is_bounded() {
    let mut text = b"x\n".repeat(1000);
    text.extend(vec![b'a'; 3 << 20]);
    text.extend(b"\nfine@x.test b@x.test\nx\n");
    let said = read(&text).unwrap_err();
    assert_eq!(said.lines().count(), 101);
    assert!(said.ends_with("r.map: and 902 more errors"), "{said}");
    let long = |octets: usize| {
        let line = "a@x.test ".to_owned() + &"b".repeat(octets - 16) + "@x.test";
        read(format!("{line}\r\nc@x.test d@x.test\n").as_bytes()).map(|map| map.len())
    };
    assert_eq!(long(1000), Ok(2));
    assert_eq!(long(1001), Err("r.map:1: longer than 1000 octets".to_owned()));
    assert_eq!(long(1002), Err("r.map:1: longer than 1000 octets".to_owned()));
    assert_eq!(long(5000), Err("r.map:1: longer than 1000 octets".to_owned()));
}

#[test]
fn files_are_read_once_and_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("good.map"), "a@x.test b@x.test\n").unwrap();
    fs::write(path("bad.map"), "a@x.test\n").unwrap();
    fs::File::create(path("huge.map")).unwrap().set_len((1 << 30) + 1).unwrap();
    let said = |name: &str| {
        let read = super::read::file(&path(name), &POOLS).map(|map| map.len());
        read.map_err(|errors| errors[0].to_string().rsplit_once('/').unwrap().1.to_owned())
    };
    let wrong = |said: &str| Err(said.to_owned());
    assert_eq!(said("good.map"), Ok(1));
    assert_eq!(
        said("bad.map"),
        wrong("bad.map:1: nothing stands behind \"a@x.test\"; write an address, @domain or upstream:NAME")
    );
    assert_eq!(said("none.map"), wrong("none.map: cannot be read: No such file or directory (os error 2)"));
    assert_eq!(said(""), wrong(": cannot be read: not a regular file"));
    assert_eq!(said("huge.map"), wrong("huge.map: larger than 1GiB"));
}

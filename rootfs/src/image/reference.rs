//! Names of images, as everybody types them: `alpine`, `ghcr.io/owner/name:1.2`, `localhost:5000/x@sha256:…`.
//!
//! The grammar is that of the distribution project (github.com/distribution/reference, grammar in its `reference.go`); what is left out
//! means what it means to Docker: `alpine` is `docker.io/library/alpine:latest`.

use std::fmt;
use std::str::FromStr;

use super::digest::{Digest, NoDigest};

/// The registry that a name without one is of.
pub const USUAL_REGISTRY: &str = "docker.io";

/// What that registry calls the owner of names without one.
const USUAL_OWNER: &str = "library/";

/// The tag that a name without one has.
pub const USUAL_TAG: &str = "latest";

/// The longest registry and repository together.
const LONGEST_NAME: usize = 255;

/// The longest tag.
const LONGEST_TAG: usize = 128;

/// Where an image is, and which.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// A host, with a port perhaps.
    pub registry: String,
    /// The path of its name there.
    pub repository: String,
    /// Which of that name; none where a digest was given alone.
    pub tag: Option<String>,
    /// Which exactly.
    pub digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoReference(&'static str);

impl fmt::Display for NoReference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoReference {}

impl From<NoDigest> for NoReference {
    fn from(no: NoDigest) -> NoReference {
        NoReference(match no {
            NoDigest::Algorithm => "the digest behind @ is of another algorithm than sha256",
            NoDigest::Form => "what stands behind @ is no digest (sha256: and 64 digits of 0-9 and a-f)",
        })
    }
}

impl FromStr for Reference {
    type Err = NoReference;

    fn from_str(text: &str) -> Result<Reference, NoReference> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon behind the last slash is the tag's; another one is a port's.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest.get(last..).and_then(|last| last.split_once(':')) {
            Some((name, tag)) => (rest.get(..last + name.len()).unwrap_or_default(), Some(tag)),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (first, path),
            _ => (USUAL_REGISTRY, name),
        };
        check_registry(registry)?;
        check_repository(path)?;
        let registry = match registry {
            "index.docker.io" | "registry-1.docker.io" => USUAL_REGISTRY,
            other => other,
        };
        let owner = if registry == USUAL_REGISTRY && !path.contains('/') { USUAL_OWNER } else { "" };
        if registry.len() + owner.len() + path.len() + 1 > LONGEST_NAME {
            return Err(NoReference("the name is longer than 255 bytes"));
        }
        let tag = tag.or(if digest.is_none() { Some(USUAL_TAG) } else { None });
        Ok(Reference {
            registry: registry.to_owned(),
            repository: format!("{owner}{path}"),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

/// Whether a name's first part is a host: with a dot, a port, a capital letter, or `localhost`.
fn is_registry(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(text: &str) -> Result<(), NoReference> {
    let bad = Err(NoReference("what stands before the first / is no host, such as example.org or localhost:5000"));
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((v6, port))) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() || !(port.is_empty() || port.starts_with(':')) {
                return bad;
            }
            ("v6", port.strip_prefix(':'))
        }
        Some(None) => return bad,
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && !label.is_empty()
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if host.split('.').all(label) && port.is_none_or(is_port) { Ok(()) } else { bad }
}

/// Words of small letters and digits, with `.`, `_`, `__` or dashes between them, in parts between slashes.
fn check_repository(path: &str) -> Result<(), NoReference> {
    if path.is_empty() {
        return Err(NoReference("the name is missing"));
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(NoReference("names of images are in small letters"));
    }
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let part = |part: &str| {
        let between = part.split(|c: char| c.is_ascii() && word(c as u8)).filter(|between| !between.is_empty());
        let ends = [part.bytes().next(), part.bytes().last()];
        ends.iter().all(|end| end.is_some_and(word))
            && between.into_iter().all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
    };
    if !path.split('/').all(part) {
        return Err(NoReference(
            "a name is small letters and digits, with single . _ - between them, and / between its parts",
        ));
    }
    if path.len() == 64 && path.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(NoReference("64 hexadecimal digits are an image's id, and cannot be its name"));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), NoReference> {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let good = tag.len() <= LONGEST_TAG && tag.bytes().all(inner) && !tag.is_empty() && !tag.starts_with(['.', '-']);
    if good {
        Ok(())
    } else {
        Err(NoReference("a tag is up to 128 of A-Z a-z 0-9 _ . - and begins with none of . -"))
    }
}

impl fmt::Display for Reference {
    /// All of it.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl Reference {
    /// The name without tag and digest, as people know it: without what is left out.
    pub fn short_name(&self) -> String {
        if self.registry != USUAL_REGISTRY {
            return format!("{}/{}", self.registry, self.repository);
        }
        self.repository.strip_prefix(USUAL_OWNER).unwrap_or(&self.repository).to_owned()
    }

    /// What stands in a registry's paths: the digest, or else the tag.
    pub fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => USUAL_TAG.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn what_is_left_out_is_what_docker_means() {
        for (text, whole, short) in [
            ("alpine", "docker.io/library/alpine:latest", "alpine"),
            ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine"),
            ("owner/name", "docker.io/owner/name:latest", "owner/name"),
            ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine"),
            ("index.docker.io/owner/name:x", "docker.io/owner/name:x", "owner/name"),
            ("localhost/x", "localhost/x:latest", "localhost/x"),
            ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1", "localhost:5000/a/b/c"),
            ("ghcr.io/o/n", "ghcr.io/o/n:latest", "ghcr.io/o/n"),
            ("[::1]:5000/n", "[::1]:5000/n:latest", "[::1]:5000/n"),
            ("Host/n", "Host/n:latest", "Host/n"),
            ("a__b/c-----d.e_f", "docker.io/a__b/c-----d.e_f:latest", "a__b/c-----d.e_f"),
            ("x:Tag_1.2-3", "docker.io/library/x:Tag_1.2-3", "x"),
        ] {
            let found: Reference = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((found.to_string().as_str(), found.short_name().as_str()), (whole, short));
            assert_eq!(whole.parse(), Ok(found));
        }
        let by_digest: Reference = format!("alpine@{DIGEST}").parse().unwrap();
        assert_eq!((by_digest.tag.clone(), by_digest.version()), (None, DIGEST.to_owned()));
        let both: Reference = format!("alpine:3@{DIGEST}").parse().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/alpine:3@{DIGEST}"));
        assert_eq!("alpine:3".parse::<Reference>().unwrap().version(), "3");
    }

    #[test]
    fn what_names_nothing_is_said_in_words() {
        let long = "a".repeat(256);
        for (text, words) in [
            ("", "missing"),
            (":x", "missing"),
            ("docker.io/", "missing"),
            ("Alpine", "small letters"),
            ("a//b", "and / between"),
            ("/a", "and / between"),
            ("a/", "and / between"),
            ("../../etc/passwd", "no host"),
            ("a..b", "and / between"),
            ("a___b", "and / between"),
            ("-a", "and / between"),
            ("a b", "and / between"),
            ("a\nb", "and / between"),
            ("é", "and / between"),
            ("a:", "a tag is"),
            ("a:.x", "a tag is"),
            ("a:x y", "a tag is"),
            ("a:b:c", "a tag is"),
            ("a:../x", "no host"),
            ("a@", "no digest"),
            ("a@sha256:x", "no digest"),
            ("a@sha512:00", "another algorithm"),
            ("a@b@c", "no digest"),
            ("-x.org/a", "no host"),
            ("x..org/a", "no host"),
            ("localhost:0/a", "no host"),
            ("localhost:65536/a", "no host"),
            ("localhost:+80/a", "no host"),
            ("[::1/a", "no host"),
            ("[x]/a", "no host"),
            ("user@host/a", "no digest"),
            ("https://x.org/a", "no host"),
            (&long, "longer than 255"),
            ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "an image's id"),
        ] {
            let error = text.parse::<Reference>().map(|found| found.to_string()).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(format!("a:{}", "t".repeat(128)).parse::<Reference>().is_ok());
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().is_err());
    }
}

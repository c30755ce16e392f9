//! What is said of an image in JSON: an index of platforms, the manifest of one, and its configuration.
//!
//! OCI image specification (image-index.md, manifest.md, config.md) and Docker's schema 2, which differ in the names of types alone.
//! These texts come from anybody. What they are is what they say themselves *and* what we were told they are: a text that could be taken
//! for two things is taken for none (CVE-2021-41190). Sizes and digests in them are wishes until what they are about has been hashed.

use std::fmt;

use super::digest::{Digest, NoDigest};
use crate::json::{self, Value};

/// The largest of these texts, as registries have it.
pub const LARGEST: u64 = 4 << 20;

/// As many lower layers as overlayfs takes (`OVL_MAX_STACK`, fs/overlayfs/overlayfs.h).
pub const MOST_LAYERS: usize = 500;

/// An index of manifests, of OCI's and Docker's type.
pub const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// A manifest, of OCI's and Docker's type.
pub const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// A configuration, of OCI's and Docker's type.
pub const CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What Docker had before 2016, without digests that could be believed.
const OLD: &str = "application/vnd.docker.distribution.manifest.v1+";

/// Why a text is not what it should be, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDocument(String);

impl fmt::Display for NoDocument {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoDocument {}

type Found<T> = Result<T, NoDocument>;

fn no<T>(why: impl Into<String>) -> Found<T> {
    Err(NoDocument(why.into()))
}

/// For which machines something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Platform {
    /// The operating system, in Go's words (`GOOS`).
    pub os: String,
    /// The processor, in Go's words (`GOARCH`).
    pub architecture: String,
    /// Which of them: `v7`, `v8`.
    pub variant: Option<String>,
}

impl Platform {
    /// The one that this program is for.
    pub fn own() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        }
    }

    /// `linux/arm64/v8`, `arm64`. None for what is neither.
    pub fn parse(text: &str) -> Option<Platform> {
        let word = |word: &&str| {
            word.starts_with(|c: char| c.is_ascii_alphanumeric())
                && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let words: Vec<&str> = text.split('/').collect();
        if !words.iter().all(word) {
            return None;
        }
        let (os, architecture, variant) = match words[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return None,
        };
        // As the kernel calls them.
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let variant = variant.map(str::to_owned);
        Some(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }

    /// Whether something for `self` runs on `wanted`.
    pub fn serves(&self, wanted: &Platform) -> bool {
        self.distance(wanted).is_some()
    }

    /// How well something for `self` serves one who wants `wanted`: the least is best, none is not at all.
    fn distance(&self, wanted: &Platform) -> Option<u32> {
        if (&self.os, &self.architecture) != (&wanted.os, &wanted.architecture) {
            return None;
        }
        let number = |variant: &Option<String>| {
            let usual = match self.architecture.as_str() {
                "arm64" => 8,
                "arm" => 7,
                "amd64" => 1,
                _ => 0,
            };
            variant.as_ref().map_or(Some(usual), |variant| variant.strip_prefix('v')?.parse::<u32>().ok())
        };
        match (number(&self.variant), number(&wanted.variant)) {
            // A processor runs what is for older ones of its kind.
            (Some(own), Some(wanted)) => wanted.checked_sub(own),
            _ => (self.variant == wanted.variant).then_some(0),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// Something that is elsewhere, and what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// For which machines it is, where it says so.
    pub platform: Option<Platform>,
    /// What it is called in an image layout (`org.opencontainers.image.ref.name`), or by containerd (`io.containerd.image.name`).
    pub name: Option<String>,
}

/// What an image of one platform consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, the lowest first, as they are stored there.
    pub layers: Vec<Descriptor>,
}

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// Manifests of several platforms.
    Index(Vec<Descriptor>),
    /// One.
    Manifest(Manifest),
}

fn value_of(bytes: &[u8], what: &str) -> Found<Value> {
    let text = std::str::from_utf8(bytes).map_err(|_| NoDocument(format!("the {what} is not text")))?;
    let value = json::read_foreign(text).map_err(|why| NoDocument(format!("the {what} is not JSON: {why}")))?;
    if matches!(value, Value::Map(_)) { Ok(value) } else { no(format!("the {what} is not a JSON object")) }
}

/// What is there and is not null, which Go writes for nothing.
fn get<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    value.get(key).filter(|value| !matches!(value, Value::Null))
}

fn text(value: &Value, key: &str) -> Found<Option<String>> {
    match get(value, key) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text.clone())),
        Some(_) => no(format!("{key} is not text")),
    }
}

fn number(value: &Value, key: &str) -> Found<Option<u64>> {
    match get(value, key) {
        None => Ok(None),
        Some(Value::Uint(number)) => Ok(Some(*number)),
        Some(_) => no(format!("{key} is not a whole number from 0 on")),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Found<&'a [Value]> {
    match get(value, key) {
        None => Ok(&[]),
        Some(Value::List(list)) => Ok(list),
        Some(_) => no(format!("{key} is not a list")),
    }
}

fn texts(value: &Value, key: &str) -> Found<Vec<String>> {
    let text = |one: &Value| match one {
        Value::Text(text) => Ok(text.clone()),
        _ => no(format!("{key} has something in it that is not text")),
    };
    list(value, key)?.iter().map(text).collect()
}

/// The names of a map, whose values mean nothing.
fn names(value: &Value, key: &str) -> Found<Vec<String>> {
    match get(value, key) {
        None => Ok(Vec::new()),
        Some(Value::Map(entries)) => Ok(entries.iter().map(|(name, _)| name.clone()).collect()),
        Some(_) => no(format!("{key} is not an object")),
    }
}

fn digest(text: &str) -> Found<Digest> {
    text.parse().map_err(|no: NoDigest| NoDocument(format!("{no}: {text:?}")))
}

fn platform(value: &Value) -> Found<Platform> {
    Ok(Platform {
        os: text(value, "os")?.unwrap_or_default(),
        architecture: text(value, "architecture")?.unwrap_or_default(),
        variant: text(value, "variant")?.filter(|variant| !variant.is_empty()),
    })
}

fn descriptor(value: &Value) -> Found<Descriptor> {
    let own = get(value, "platform").map(platform).transpose()?;
    let annotations = get(value, "annotations");
    let named = |key| annotations.and_then(|all| text(all, key).ok().flatten());
    Ok(Descriptor {
        media_type: text(value, "mediaType")?.unwrap_or_default(),
        digest: digest(&text(value, "digest")?.ok_or_else(|| NoDocument("a digest is missing".to_owned()))?)?,
        size: number(value, "size")?.ok_or_else(|| NoDocument("a size is missing".to_owned()))?,
        platform: own,
        name: named("io.containerd.image.name").or_else(|| named("org.opencontainers.image.ref.name")),
    })
}

/// Reads an index or a manifest. `told` is the type that it came with, where it came with one.
pub fn read(bytes: &[u8], told: Option<&str>) -> Found<Document> {
    let value = value_of(bytes, "manifest")?;
    let own = text(&value, "mediaType")?;
    // What stands behind a semicolon is an encoding.
    let told = told.map(|told| told.split(';').next().unwrap_or_default().trim());
    let known = |kind: &str| INDEXES.contains(&kind) || MANIFESTS.contains(&kind);
    for kind in [told, own.as_deref()].into_iter().flatten() {
        if kind.starts_with(OLD) {
            return no(
                "it is a manifest of schema 1, which nothing can be checked by: push the image again, with a Docker from after 2017",
            );
        }
    }
    if value.get("schemaVersion").is_some_and(|version| *version != Value::Uint(2)) {
        return no("it is of another schema than 2");
    }
    let (told, own) = (told.filter(|kind| known(kind)), own.as_deref());
    if let Some((told, own)) = told.zip(own).filter(|(told, own)| told != own) {
        return no(format!("it came as {told}, and says that it is {own}: one of them is a lie"));
    }
    let is_index = get(&value, "manifests").is_some();
    if is_index && (get(&value, "layers").is_some() || get(&value, "config").is_some()) {
        return no(
            "it is an index and a manifest at once, and different programs would take it for different things",
        );
    }
    match told.or(own) {
        Some(kind) if INDEXES.contains(&kind) != is_index && known(kind) => {
            return no(format!("it says that it is {kind}, and is something else"));
        }
        Some(kind) if !known(kind) => return no(format!("it is no image, but {kind:?}")),
        _ => {}
    }
    if is_index {
        return list(&value, "manifests")?.iter().map(descriptor).collect::<Found<_>>().map(Document::Index);
    }
    let Some(config) = get(&value, "config") else { return no("it has no configuration: it is no image") };
    let config = descriptor(config)?;
    let layers = list(&value, "layers")?.iter().map(descriptor).collect::<Found<Vec<_>>>()?;
    if layers.len() > MOST_LAYERS {
        return no(format!("it has {} layers, and overlayfs takes {MOST_LAYERS}", layers.len()));
    }
    if !config.media_type.is_empty() && !CONFIGS.contains(&config.media_type.as_str()) {
        return no(format!("it is no image of a filesystem, but {:?}", config.media_type));
    }
    if let Some(layer) = layers.iter().find(|layer| layer.media_type.ends_with("+encrypted")) {
        return no(format!("its layer {} is encrypted, and ctr has no keys", layer.digest));
    }
    if config.size > LARGEST {
        return no(format!("its configuration would be {} bytes, and more than {LARGEST} are nobody's", config.size));
    }
    Ok(Document::Manifest(Manifest { config, layers }))
}

/// The manifest for these machines; or else for which there are some.
pub fn choose<'a>(index: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, Vec<Platform>> {
    let fits = |one: &Descriptor| match &one.platform {
        Some(platform) => platform.distance(wanted),
        // It does not say: its configuration will.
        None => Some(u32::MAX),
    };
    let images =
        || index.iter().filter(|one| MANIFESTS.contains(&one.media_type.as_str()) || one.media_type.is_empty());
    let best = images().filter_map(|one| Some((fits(one)?, one))).min_by_key(|(distance, _)| *distance);
    best.map(|(_, one)| one).ok_or_else(|| {
        let has_name = |platform: &&Platform| platform.os != "unknown";
        images().filter_map(|one| one.platform.as_ref()).filter(has_name).cloned().collect()
    })
}

/// One step of an image's making.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// When (RFC 3339).
    pub created: Option<String>,
    /// What was done.
    pub created_by: String,
    /// What was said of it.
    pub comment: String,
    /// It has no layer.
    pub empty: bool,
}

/// How one finds out whether a container is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// `NONE`, `CMD` and words, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// Nanoseconds between two; 0 for the usual.
    pub interval: u64,
    /// Nanoseconds that one may take.
    pub timeout: u64,
    /// Nanoseconds in which failures do not count.
    pub start_period: u64,
    /// Nanoseconds between two in that time.
    pub start_interval: u64,
    /// How many in a row must fail.
    pub retries: u64,
}

/// What an image says about itself, and about what it wants to be run as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// For which machines it is.
    pub platform: Platform,
    /// When it was made (RFC 3339).
    pub created: Option<String>,
    /// By whom.
    pub author: Option<String>,
    /// The digests of its layers' archives, not compressed, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// How it was made.
    pub history: Vec<Step>,
    /// `USER[:GROUP]`; empty for root.
    pub user: String,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// What comes before the command.
    pub entrypoint: Vec<String>,
    /// The command, where no other is given.
    pub cmd: Vec<String>,
    /// Where it begins; empty for `/`.
    pub workdir: String,
    /// Directories whose content is to outlive the container.
    pub volumes: Vec<String>,
    /// `PORT[/PROTOCOL]`.
    pub ports: Vec<String>,
    /// What ends it; empty for SIGTERM.
    pub stop_signal: String,
    /// What anybody wanted to say. Data, and never more (GO-2026-5758).
    pub labels: Vec<(String, String)>,
    /// How one finds out whether it is well.
    pub health: Option<Healthcheck>,
}

/// Reads a configuration.
pub fn config(bytes: &[u8]) -> Found<Config> {
    let value = value_of(bytes, "image's configuration")?;
    let empty = Value::Map(Vec::new());
    let own = get(&value, "config").unwrap_or(&empty);
    let Some(rootfs) = get(&value, "rootfs") else { return no("the image's configuration names no layers") };
    if text(rootfs, "type")?.is_some_and(|kind| kind != "layers") {
        return no("the image's root is not made of layers");
    }
    let diff_ids = texts(rootfs, "diff_ids")?.iter().map(|text| digest(text)).collect::<Found<Vec<_>>>()?;
    if diff_ids.len() > MOST_LAYERS {
        return no(format!("it has {} layers, and overlayfs takes {MOST_LAYERS}", diff_ids.len()));
    }
    let labels = match get(own, "Labels") {
        None => Vec::new(),
        Some(Value::Map(entries)) => entries
            .iter()
            .map(|(name, value)| match value {
                Value::Text(value) => Ok((name.clone(), value.clone())),
                _ => no(format!("the label {name:?} is not text")),
            })
            .collect::<Found<_>>()?,
        Some(_) => return no("Labels is not an object"),
    };
    let step = |step: &Value| {
        Ok(Step {
            created: text(step, "created")?,
            created_by: text(step, "created_by")?.unwrap_or_default(),
            comment: text(step, "comment")?.unwrap_or_default(),
            empty: get(step, "empty_layer") == Some(&Value::Bool(true)),
        })
    };
    let health = |health: &Value| {
        let span = |key| number(health, key).map(Option::unwrap_or_default);
        Ok(Healthcheck {
            test: texts(health, "Test")?,
            interval: span("Interval")?,
            timeout: span("Timeout")?,
            start_period: span("StartPeriod")?,
            start_interval: span("StartInterval")?,
            retries: span("Retries")?,
        })
    };
    Ok(Config {
        platform: platform(&value)?,
        created: text(&value, "created")?,
        author: text(&value, "author")?,
        diff_ids,
        history: list(&value, "history")?.iter().map(step).collect::<Found<_>>()?,
        user: text(own, "User")?.unwrap_or_default(),
        env: texts(own, "Env")?,
        entrypoint: texts(own, "Entrypoint")?,
        cmd: texts(own, "Cmd")?,
        workdir: text(own, "WorkingDir")?.unwrap_or_default(),
        volumes: names(own, "Volumes")?,
        ports: names(own, "ExposedPorts")?,
        stop_signal: text(own, "StopSignal")?.unwrap_or_default(),
        labels,
        health: get(own, "Healthcheck").map(health).transpose()?,
    })
}

/// Whether a manifest and the configuration that it names speak of the same image, for these machines.
pub fn agree(manifest: &Manifest, config: &Config, wanted: &Platform) -> Found<()> {
    let (layers, ids) = (manifest.layers.len(), config.diff_ids.len());
    if layers != ids {
        return no(format!("its manifest has {layers} layers, and its configuration {ids}"));
    }
    if config.platform.distance(wanted).is_none() {
        return no(format!("it is for {}, and not for {wanted}", config.platform));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn manifest_text() -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{A}","size":7}},
                "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"{B}","size":9}}],
                "annotations":{{"pi":"x","rate":1.5}}}}"#,
            MANIFESTS[0], CONFIGS[0]
        )
    }

    fn index_text() -> String {
        let one = |os: &str, architecture: &str, variant: &str, last: char| {
            let digest = format!("{}{last}", &A[..A.len() - 1]);
            let variant = if variant.is_empty() { String::new() } else { format!(r#","variant":"{variant}""#) };
            format!(
                r#"{{"mediaType":"{}","digest":"{digest}","size":1,"platform":{{"os":"{os}","architecture":"{architecture}"{variant}}}}}"#,
                MANIFESTS[1]
            )
        };
        let all = [
            one("linux", "arm", "v5", '1'),
            one("linux", "arm", "v7", '2'),
            one("linux", "arm64", "v8", '3'),
            one("linux", "amd64", "", '4'),
            one("unknown", "unknown", "", '5'),
            one("windows", "amd64", "", '6'),
        ];
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{}]}}"#, INDEXES[1], all.join(","))
    }

    #[test]
    fn manifests_are_read() {
        let Document::Manifest(manifest) = read(manifest_text().as_bytes(), None).unwrap() else { panic!() };
        assert_eq!((manifest.config.size, manifest.config.digest.to_string()), (7, A.to_owned()));
        assert_eq!((manifest.layers.len(), manifest.layers[0].size), (1, 9));
        let with_encoding = format!("{}; charset=utf-8", MANIFESTS[0]);
        assert!(read(manifest_text().as_bytes(), Some(&with_encoding)).is_ok());
        // Registries of files say so of everything.
        assert!(read(manifest_text().as_bytes(), Some("application/json")).is_ok());
    }

    #[test]
    fn the_best_for_a_machine_is_chosen() {
        let Document::Index(index) = read(index_text().as_bytes(), Some(INDEXES[1])).unwrap() else { panic!() };
        for (wanted, last) in [
            ("linux/amd64", '4'),
            ("amd64", '4'),
            ("x86_64", '4'),
            ("linux/arm64", '3'),
            ("linux/arm64/v8", '3'),
            ("linux/arm64/v9", '3'),
            ("linux/arm", '2'),
            ("linux/arm/v6", '1'),
            ("windows/amd64", '6'),
        ] {
            let found = choose(&index, &Platform::parse(wanted).unwrap()).unwrap();
            assert_eq!(found.digest.to_string().chars().last(), Some(last), "{wanted}");
        }
        let there = choose(&index, &Platform::parse("linux/s390x").unwrap()).unwrap_err();
        let there: Vec<String> = there.iter().map(ToString::to_string).collect();
        assert_eq!(there, ["linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "linux/amd64", "windows/amd64"]);
        for bad in ["", "/", "linux/", "linux/a/b/c", "Linux/amd64", "linux amd64", "../x"] {
            assert_eq!(Platform::parse(bad), None, "{bad}");
        }
        assert!(choose(&index, &Platform::own()).is_ok());
    }

    #[test]
    fn what_could_be_two_things_is_none() {
        let both = manifest_text().replace("\"layers\"", "\"manifests\":[],\"layers\"");
        let error = |text: &str, told: Option<&str>| read(text.as_bytes(), told).unwrap_err().to_string();
        assert!(error(&both, None).contains("at once"));
        assert!(error(&manifest_text(), Some(INDEXES[0])).contains("one of them is a lie"));
        assert!(error(&manifest_text(), Some(MANIFESTS[1])).contains("one of them is a lie"));
        let silent = manifest_text().replace(&format!(r#""mediaType":"{}","#, MANIFESTS[0]), "");
        assert!(read(silent.as_bytes(), None).is_ok());
        assert!(error(&silent, Some(INDEXES[0])).contains("something else"));
        let lying = manifest_text().replace(MANIFESTS[0], INDEXES[0]);
        assert!(error(&lying, None).contains("something else"));
        let twice = manifest_text().replace("\"layers\"", "\"config\":null,\"layers\"");
        assert!(error(&twice, None).contains("same name stands twice"));
    }

    #[test]
    fn what_is_no_image_is_said_in_words() {
        let error = |text: &str| read(text.as_bytes(), None).unwrap_err().to_string();
        let changed = |from: &str, to: &str| error(&manifest_text().replace(from, to));
        assert!(error("").contains("is not JSON"));
        assert!(error("[]").contains("is not a JSON object"));
        assert!(error("{}").contains("no configuration"));
        assert!(changed(A, "sha256:../../x").contains("not a digest"));
        assert!(changed(A, &A.replace("256", "512")).contains("algorithm"));
        assert!(changed("\"size\":7", "\"size\":-7").contains("whole number"));
        assert!(changed("\"size\":7", "\"size\":7.5").contains("whole number"));
        assert!(changed(",\"size\":7", "").contains("size is missing"));
        assert!(changed("\"size\":7", "\"size\":99999999").contains("nobody's"));
        assert!(changed("\"schemaVersion\":2", "\"schemaVersion\":1").contains("another schema"));
        assert!(
            changed(MANIFESTS[0], "application/vnd.docker.distribution.manifest.v1+prettyjws").contains("schema 1")
        );
        assert!(changed(MANIFESTS[0], "application/vnd.cncf.helm.config.v1+json").contains("no image"));
        assert!(changed(CONFIGS[0], "application/vnd.cncf.helm.config.v1+json").contains("no image"));
        assert!(changed("tar+gzip", "tar+gzip+encrypted").contains("is encrypted"));
        let many = vec![format!(r#"{{"digest":"{B}","size":1}}"#); 501].join(",");
        let layers = format!(r#"{{"config":{{"digest":"{A}","size":7}},"layers":[{many}]}}"#);
        assert!(error(&layers).contains("501 layers"));
    }

    fn config_text() -> String {
        format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z","config":{{"User":"1:2","Env":["A=b"],
            "Entrypoint":["/e"],"Cmd":null,"WorkingDir":"/w","ExposedPorts":{{"80/tcp":{{}}}},"Volumes":{{"/v":{{}}}},
            "Labels":{{"x":"1","X":"2"}},"StopSignal":"SIGQUIT","Healthcheck":{{"Test":["CMD-SHELL","true"],"Interval":5000000000,
            "Retries":3}},"ArgsEscaped":true,"OnBuild":null}},"rootfs":{{"type":"layers","diff_ids":["{A}","{B}"]}},
            "history":[{{"created_by":"ADD","created":"2026-01-02T03:04:05Z"}},{{"empty_layer":true,"created_by":"CMD"}},{{"comment":"c"}}]}}"#
        )
    }

    #[test]
    fn configurations_are_read() {
        let config = config(config_text().as_bytes()).unwrap();
        assert_eq!(
            (config.user.as_str(), config.workdir.as_str(), config.stop_signal.as_str()),
            ("1:2", "/w", "SIGQUIT")
        );
        assert_eq!(
            (config.env, config.entrypoint, config.cmd),
            (vec!["A=b".to_owned()], vec!["/e".to_owned()], vec![])
        );
        assert_eq!((config.ports, config.volumes), (vec!["80/tcp".to_owned()], vec!["/v".to_owned()]));
        assert_eq!(config.labels, [("x".to_owned(), "1".to_owned()), ("X".to_owned(), "2".to_owned())]);
        let health = config.health.unwrap();
        assert_eq!((health.interval, health.retries, health.timeout), (5_000_000_000, 3, 0));
        assert_eq!(config.diff_ids.len(), 2);
        let steps: Vec<(&str, bool)> = config.history.iter().map(|s| (s.created_by.as_str(), s.empty)).collect();
        assert_eq!(steps, [("ADD", false), ("CMD", true), ("", false)]);
    }

    #[test]
    fn configurations_that_are_none_are_said_to_be() {
        let error = |from: &str, to: &str| {
            let text = config_text().replace(from, to);
            assert_ne!(text, config_text(), "{from}");
            config(text.as_bytes()).unwrap_err().to_string()
        };
        assert!(error("\"rootfs\"", "\"r\"").contains("names no layers"));
        assert!(error("\"layers\"", "\"zfs\"").contains("not made of layers"));
        assert!(error(A, "sha256:x").contains("not a digest"));
        assert!(error("\"A=b\"", "1").contains("Env has something in it"));
        assert!(error("\"1:2\"", "[]").contains("User is not text"));
        assert!(error("{\"80/tcp\":{}}", "[]").contains("ExposedPorts is not an object"));
        assert!(error("\"x\":\"1\"", "\"x\":1").contains("label \"x\""));
        assert!(error("\"Retries\":3", "\"Retries\":-3").contains("Retries is not a whole number"));
    }

    #[test]
    fn a_manifest_and_its_configuration_agree() {
        let Document::Manifest(manifest) = read(manifest_text().as_bytes(), None).unwrap() else { panic!() };
        let of = |text: &str| config(text.as_bytes()).unwrap();
        let amd64 = Platform::parse("amd64").unwrap();
        let error = agree(&manifest, &of(&config_text()), &amd64).unwrap_err().to_string();
        assert!(error.contains("1 layers, and its configuration 2"), "{error}");
        let one = config_text().replace(&format!("\"{A}\","), "");
        agree(&manifest, &of(&one), &amd64).unwrap();
        let error = agree(&manifest, &of(&one), &Platform::parse("arm64").unwrap()).unwrap_err().to_string();
        assert!(error.contains("it is for linux/amd64, and not for linux/arm64"), "{error}");
    }

    /// The same damage in every run.
    #[test]
    fn garbage_never_panics() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut roll = |sides: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % sides as u64) as usize
        };
        for round in 0..6000 {
            let mut bytes = [manifest_text(), index_text(), config_text()][round % 3].clone().into_bytes();
            for _ in 0..=roll(6) {
                let at = roll(bytes.len());
                bytes[at] = b"{}[]\",:0-9e.ntf\\\xff"[roll(17)];
            }
            if round % 5 == 0 {
                bytes.truncate(roll(bytes.len()));
            }
            let _ = read(&bytes, Some(MANIFESTS[round % 2]));
            let _ = config(&bytes);
        }
    }
}

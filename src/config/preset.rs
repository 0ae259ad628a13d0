//! Presets: what vendors are like, as TOML in the words of the user's file. Some are embedded; the user may
//! bring others, by `[presets]`.

mod overlay;
pub mod own;

use zeroize::Zeroizing;

use crate::config::findings::Findings;
use crate::config::raw;
use crate::config::raw::preset::PresetFile;
use crate::config::shape;
use crate::config::suggest::nearest;
use crate::config::text::Text;
use crate::config::tree::Node;

pub(crate) use overlay::overlay;

/// One preset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset<'a> {
    /// The name, as `preset = "name"` has it.
    pub name: &'a str,
    /// The TOML, with comments.
    pub text: &'a str,
}

/// A parameter of a preset, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// The key in the user's table.
    pub name: String,
    /// What it is.
    pub description: String,
    /// It is given by reference.
    pub secret: bool,
    /// It must be given.
    pub required: bool,
    /// What a starter file says, as TOML.
    pub example: Option<String>,
    /// The preset whose credential normally gives it.
    pub from: Option<String>,
}

/// The presets that are embedded, in the order in which they are listed.
pub const PRESETS: &[Preset<'static>] = include!("../../presets/list.rs");

impl Preset<'static> {
    /// The embedded preset of a name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.iter().copied().find(|preset| preset.name == name)
    }

    /// The embedded preset whose name is nearest, if any is near enough to be meant.
    pub fn nearest(name: &str) -> Option<Self> {
        nearest(name, PRESETS.iter().map(|preset| preset.name)).and_then(Self::named)
    }
}

impl Preset<'_> {
    /// One line that says what it is for.
    pub fn summary(self) -> String {
        self.parse().about.summary
    }

    /// The address of the documentation.
    pub fn docs(self) -> Option<String> {
        self.parse().about.docs
    }

    /// What the user says.
    pub fn parameters(self) -> Vec<Parameter> {
        let about = self.parse().about;
        let parameter = |(name, of): (&String, &raw::preset::Parameter)| Parameter {
            name: name.clone(),
            description: of.description.clone(),
            secret: of.secret,
            required: of.required,
            example: of.example.clone(),
            from: of.from.clone(),
        };
        about.parameters.into_iter().map(parameter).collect()
    }

    /// The environments of the vendor; the first is the default.
    pub fn environments(self) -> Vec<String> {
        self.parse().about.environments.names().map(str::to_owned).collect()
    }

    /// The vendor's address, in its first environment.
    pub fn base_url(self) -> Option<String> {
        let Parsed { about, credential, .. } = self.parse();
        let own = credential.as_table().and_then(|table| table.get("base_url")?.as_text().map(str::to_owned));
        about.environments.first().map(|(_, address)| address.clone()).or(own)
    }

    /// Whether it injects anything by itself: one that does not is a link of a chain.
    pub fn injects(self) -> bool {
        self.parse().credential.as_table().is_some_and(|table| table.get("inject").is_some())
    }

    /// Its parts. It was read before: the embedded ones by a test, others by [`own`].
    fn parse(self) -> Parsed {
        let document = toml::de::DeTable::parse(self.text).expect("a preset that was read before is TOML");
        let tree = Node::from_document(document.get_ref(), self.text.len());
        let text = Text::broken(self.name, Zeroizing::new(String::new()));
        Parsed::of(tree, &mut Findings::new(text)).expect("a preset that was read before has a credential")
    }
}

/// A preset in its parts.
#[derive(Debug, Clone)]
struct Parsed {
    /// What it says about itself.
    about: PresetFile,
    /// The table that it lays under the user's.
    credential: Node,
    /// By parameters: what is laid over that where the parameter is given.
    with: Vec<(String, Node)>,
}

impl Parsed {
    /// Takes a file apart, and tells its mistakes. None if it has no credential.
    fn of(mut tree: Node, findings: &mut Findings) -> Option<Self> {
        let table = tree.as_table_mut()?;
        let credential = table.take("credential").filter(|node| node.as_table().is_some());
        let with = table.take("with");
        let about = shape::read(&mut tree, findings);
        let with = with.and_then(|mut with| with.as_table_mut().map(std::mem::take));
        let with = with.into_iter().flat_map(|table| table.entries).collect();
        Some(Self { about, credential: credential?, with })
    }
}

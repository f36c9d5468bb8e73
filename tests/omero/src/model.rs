//! The part of OMERO's object model that the stand-in knows: which classes
//! there are, their properties, and where each is kept in the store.
//! Queries (`hql`) and object commands (`obj`) both read this table.

/// The type of a property's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Int,
    Text,
    Bool,
    Time,
    Float,
    /// Another object of the class named.
    Ref(&'static str),
}

/// One property: its name in the model, its column, its type.
pub struct Prop {
    pub name: &'static str,
    pub column: &'static str,
    pub kind: Kind,
    pub required: bool,
}

/// A collection of other objects (`Dataset.imageLinks`): their class, and the
/// column there that points back.
pub struct Many {
    pub name: &'static str,
    pub class: &'static str,
    pub back: &'static str,
}

/// A class of the model.
pub struct Class {
    pub name: &'static str,
    pub package: &'static str,
    pub table: &'static str,
    /// Rows of this class among those of the table (annotations share one).
    pub filter: Option<&'static str>,
    pub props: &'static [Prop],
    pub many: &'static [Many],
    /// Whether rows have an owner and a group, hence can be hidden.
    pub owned: bool,
}

const fn p(name: &'static str, column: &'static str, kind: Kind) -> Prop {
    Prop { name, column, kind, required: false }
}

const fn req(name: &'static str, column: &'static str, kind: Kind) -> Prop {
    Prop { name, column, kind, required: true }
}

const fn m(name: &'static str, class: &'static str, back: &'static str) -> Many {
    Many { name, class, back }
}

const NAME: Prop = req("name", "name", Kind::Text);
const DESCRIPTION: Prop = p("description", "description", Kind::Text);

macro_rules! link {
    ($name:literal, $package:literal, $table:literal, $parent:literal, $child:literal) => {
        Class {
            name: $name,
            package: $package,
            table: $table,
            filter: None,
            props: &[req("parent", "parent", Kind::Ref($parent)), req("child", "child", Kind::Ref($child))],
            many: &[],
            owned: true,
        }
    };
}

macro_rules! annotation {
    ($name:literal, $filter:expr, $($prop:expr),*) => {
        Class {
            name: $name,
            package: "annotations",
            table: "annotation",
            filter: $filter,
            props: &[
                $($prop,)*
                p("ns", "ns", Kind::Text),
                p("name", "name", Kind::Text),
                DESCRIPTION,
            ],
            many: &[m("mapValue", "NamedValue", "annotation")],
            owned: true,
        }
    };
}

/// Every class known here.
pub static CLASSES: &[Class] = &[
    Class {
        name: "Experimenter",
        package: "meta",
        table: "experimenter",
        filter: None,
        props: &[
            req("omeName", "ome_name", Kind::Text),
            req("firstName", "first_name", Kind::Text),
            req("lastName", "last_name", Kind::Text),
            req("ldap", "ldap", Kind::Bool),
        ],
        many: &[m("groupExperimenterMap", "GroupExperimenterMap", "child")],
        owned: false,
    },
    Class {
        name: "ExperimenterGroup",
        package: "meta",
        table: "experimenter_group",
        filter: None,
        props: &[NAME, req("ldap", "ldap", Kind::Bool), DESCRIPTION],
        many: &[m("groupExperimenterMap", "GroupExperimenterMap", "parent")],
        owned: false,
    },
    Class {
        name: "GroupExperimenterMap",
        package: "meta",
        table: "group_experimenter_map",
        filter: None,
        props: &[
            req("parent", "parent", Kind::Ref("ExperimenterGroup")),
            req("child", "child", Kind::Ref("Experimenter")),
            req("owner", "owner", Kind::Bool),
        ],
        many: &[],
        owned: false,
    },
    Class {
        name: "Event",
        package: "meta",
        table: "event",
        filter: None,
        props: &[
            req("time", "time", Kind::Time),
            req("experimenter", "experimenter", Kind::Ref("Experimenter")),
            req("experimenterGroup", "experimenter_group", Kind::Ref("ExperimenterGroup")),
        ],
        many: &[],
        owned: false,
    },
    Class {
        name: "Session",
        package: "meta",
        table: "session",
        filter: None,
        props: &[
            req("uuid", "uuid", Kind::Text),
            req("owner", "owner", Kind::Ref("Experimenter")),
            req("timeToIdle", "time_to_idle", Kind::Int),
            req("timeToLive", "time_to_live", Kind::Int),
            req("started", "started", Kind::Time),
            p("closed", "closed", Kind::Time),
        ],
        many: &[],
        owned: false,
    },
    Class {
        name: "Fileset",
        package: "fs",
        table: "fileset",
        filter: None,
        props: &[req("templatePrefix", "template_prefix", Kind::Text)],
        many: &[
            m("usedFiles", "FilesetEntry", "fileset"),
            m("images", "Image", "fileset"),
            m("annotationLinks", "FilesetAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "FilesetEntry",
        package: "fs",
        table: "fileset_entry",
        filter: None,
        props: &[
            req("fileset", "fileset", Kind::Ref("Fileset")),
            req("originalFile", "original_file", Kind::Ref("OriginalFile")),
            req("clientPath", "client_path", Kind::Text),
        ],
        many: &[],
        owned: true,
    },
    Class {
        name: "OriginalFile",
        package: "core",
        table: "original_file",
        filter: None,
        props: &[
            req("path", "path", Kind::Text),
            p("repo", "repo", Kind::Text),
            p("size", "size", Kind::Int),
            p("hasher", "hasher", Kind::Text),
            p("hash", "hash", Kind::Text),
            p("mimetype", "mimetype", Kind::Text),
            NAME,
        ],
        many: &[m("filesetEntries", "FilesetEntry", "original_file")],
        owned: true,
    },
    Class {
        name: "Image",
        package: "core",
        table: "image",
        filter: None,
        props: &[
            p("series", "series", Kind::Int),
            p("acquisitionDate", "acquisition_date", Kind::Time),
            p("archived", "archived", Kind::Bool),
            p("fileset", "fileset", Kind::Ref("Fileset")),
            NAME,
            DESCRIPTION,
        ],
        many: &[
            m("pixels", "Pixels", "image"),
            m("wellSamples", "WellSample", "image"),
            m("datasetLinks", "DatasetImageLink", "child"),
            m("annotationLinks", "ImageAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "Pixels",
        package: "core",
        table: "pixels",
        filter: None,
        props: &[
            req("image", "image", Kind::Ref("Image")),
            req("sizeX", "size_x", Kind::Int),
            req("sizeY", "size_y", Kind::Int),
        ],
        many: &[],
        owned: true,
    },
    Class {
        name: "Dataset",
        package: "containers",
        table: "dataset",
        filter: None,
        props: &[NAME, DESCRIPTION],
        many: &[
            m("imageLinks", "DatasetImageLink", "parent"),
            m("projectLinks", "ProjectDatasetLink", "child"),
            m("annotationLinks", "DatasetAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "Project",
        package: "containers",
        table: "project",
        filter: None,
        props: &[NAME, DESCRIPTION],
        many: &[
            m("datasetLinks", "ProjectDatasetLink", "parent"),
            m("annotationLinks", "ProjectAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "Screen",
        package: "screen",
        table: "screen",
        filter: None,
        props: &[NAME, DESCRIPTION],
        many: &[
            m("plateLinks", "ScreenPlateLink", "parent"),
            m("annotationLinks", "ScreenAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "Plate",
        package: "screen",
        table: "plate",
        filter: None,
        props: &[NAME, DESCRIPTION],
        many: &[
            m("wells", "Well", "plate"),
            m("screenLinks", "ScreenPlateLink", "child"),
            m("annotationLinks", "PlateAnnotationLink", "parent"),
        ],
        owned: true,
    },
    Class {
        name: "Well",
        package: "screen",
        table: "well",
        filter: None,
        props: &[
            req("plate", "plate", Kind::Ref("Plate")),
            p("column", "well_column", Kind::Int),
            p("row", "well_row", Kind::Int),
        ],
        many: &[m("wellSamples", "WellSample", "well")],
        owned: true,
    },
    Class {
        name: "WellSample",
        package: "screen",
        table: "well_sample",
        filter: None,
        props: &[req("well", "well", Kind::Ref("Well")), req("image", "image", Kind::Ref("Image"))],
        many: &[],
        owned: true,
    },
    annotation!("Annotation", None,),
    annotation!("MapAnnotation", Some("map"),),
    annotation!("CommentAnnotation", Some("comment"), p("textValue", "text_value", Kind::Text)),
    annotation!("TagAnnotation", Some("tag"), p("textValue", "text_value", Kind::Text)),
    annotation!("XmlAnnotation", Some("xml"), p("textValue", "text_value", Kind::Text)),
    annotation!("LongAnnotation", Some("long"), p("longValue", "long_value", Kind::Int)),
    annotation!("FileAnnotation", Some("file"), p("file", "file", Kind::Ref("OriginalFile"))),
    Class {
        name: "NamedValue",
        package: "internal",
        table: "annotation_map_value",
        filter: None,
        props: &[p("name", "name", Kind::Text), p("value", "value", Kind::Text)],
        many: &[],
        owned: false,
    },
    link!("DatasetImageLink", "containers", "dataset_image_link", "Dataset", "Image"),
    link!("ProjectDatasetLink", "containers", "project_dataset_link", "Project", "Dataset"),
    link!("ScreenPlateLink", "screen", "screen_plate_link", "Screen", "Plate"),
    link!("ImageAnnotationLink", "annotations", "image_annotation_link", "Image", "Annotation"),
    link!("FilesetAnnotationLink", "annotations", "fileset_annotation_link", "Fileset", "Annotation"),
    link!("PlateAnnotationLink", "annotations", "plate_annotation_link", "Plate", "Annotation"),
    link!("DatasetAnnotationLink", "annotations", "dataset_annotation_link", "Dataset", "Annotation"),
    link!("ProjectAnnotationLink", "annotations", "project_annotation_link", "Project", "Annotation"),
    link!("ScreenAnnotationLink", "annotations", "screen_annotation_link", "Screen", "Annotation"),
];

/// Finds a class by its short or full name (`Image`, `ome.model.core.Image`).
pub fn class(name: &str) -> Option<&'static Class> {
    let short = match name.strip_prefix("ome.model.").or_else(|| name.strip_prefix("omero.model.")) {
        Some(rest) => rest.rsplit('.').next()?,
        None => name,
    };
    CLASSES.iter().find(|c| c.name == short)
}

impl Class {
    pub fn prop(&self, name: &str) -> Option<&'static Prop> {
        let me: &'static Class = CLASSES.iter().find(|c| c.name == self.name)?;
        me.props.iter().find(|p| p.name == name)
    }

    pub fn many(&self, name: &str) -> Option<&'static Many> {
        let me: &'static Class = CLASSES.iter().find(|c| c.name == self.name)?;
        me.many.iter().find(|p| p.name == name)
    }

    pub fn full_name(&self) -> String {
        format!("ome.model.{}.{}", self.package, self.name)
    }

    /// Classes that only tie two objects together.
    pub fn is_link(&self) -> bool {
        self.name.ends_with("Link")
    }
}

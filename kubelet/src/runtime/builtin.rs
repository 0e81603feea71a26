//! The images that come with the binary: no registry is needed to start.

/// The pause image: it holds every pod's namespaces.
pub const PAUSE_IMAGE: &str = "localhost/kontiki/pause:1";

static PAUSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));
static DEMO_WEB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo-web"));

/// An image of one static program.
pub struct BuiltinImage {
    /// Its full name.
    pub name: &'static str,
    /// Path of the program in the image, also its entry point.
    pub program_path: &'static str,
    /// The program.
    pub program: &'static [u8],
    /// Environment baked into the image.
    pub environment: &'static [&'static str],
}

/// All of them. The versions of the demonstration differ only in what their environment says.
pub static BUILTIN_IMAGES: &[BuiltinImage] = &[
    BuiltinImage { name: PAUSE_IMAGE, program_path: "pause", program: PAUSE, environment: &[] },
    BuiltinImage {
        name: "kontiki.dev/demo-web:v1",
        program_path: "bin/demo-web",
        program: DEMO_WEB,
        environment: &["PATH=/bin", "VERSION=v1"],
    },
    BuiltinImage {
        name: "kontiki.dev/demo-web:v2",
        program_path: "bin/demo-web",
        program: DEMO_WEB,
        environment: &["PATH=/bin", "VERSION=v2"],
    },
    BuiltinImage {
        name: "kontiki.dev/demo-web:v3",
        program_path: "bin/demo-web",
        program: DEMO_WEB,
        environment: &["PATH=/bin", "VERSION=v3", "READY=never"],
    },
];

use super::plan::Plan;

/// The state folder, for a container that nobody mounts one into.
const STATE: &str = "/var/lib";

/// No layer, of the build neither, has what is on the machine of whoever builds it.
pub(super) const IGNORED: &str = ".git\n**/target\n**/.halfbyte\n**/*.env\n**/.env*\n";

pub(super) fn render(plan: &Plan) -> String {
    let Plan { name, version, contract, fingerprint, package, binary, build_image, run_image, .. } = plan;
    let (public, admin) = plan.ports;
    let features = match plan.features.join(",") {
        none if none.is_empty() => none,
        features => format!(" --features {features}"),
    };
    let Sources { context, copies, folder } = Sources::of(plan);
    format!(
        "# syntax=docker/dockerfile:1
# {name} {version}, contract {contract}. Rendered from its manifest: change the deployment, not this file.
# {context}

FROM {build_image} AS build
{copies}WORKDIR {folder}
# Dependencies and what was built of them stay with the builder; what is needed of it is taken out.
RUN --mount=type=cache,target=/usr/local/cargo/registry \\
    --mount=type=cache,target={folder}/target,sharing=locked \\
    cargo build --locked --release --package {package} --bin {binary}{features} \\
    && install -D --mode=0755 target/release/{binary} /out/{binary} \\
    && install -d --mode=0700 /out/state

# No shell, no package manager, nobody but this program.
FROM {run_image}
LABEL org.opencontainers.image.title=\"{name}\" \\
      org.opencontainers.image.version=\"{version}\" \\
      halfbyte.contract=\"{contract}\" \\
      halfbyte.fingerprint=\"{fingerprint}\"
COPY --from=build --chown=0:0 /out/{binary} /usr/bin/{binary}
COPY --from=build --chown=65532:65532 /out/state {STATE}/{name}
USER 65532:65532
# Where it listens and keeps its state: the same everywhere. What is a secret comes from outside.
ENV HALFBYTE_LISTEN=\"0.0.0.0:{public}\" \\
    HALFBYTE_ADMIN_LISTEN=\"0.0.0.0:{admin}\" \\
    HALFBYTE_HOME=\"{STATE}/{name}/home\"
EXPOSE {public} {admin}
STOPSIGNAL SIGTERM
ENTRYPOINT [\"/usr/bin/{binary}\"]
"
    )
}

/// Where the source is.
struct Sources {
    /// What to say to who builds.
    context: String,
    /// What brings it into the image to build in.
    copies: String,
    /// The folder of the product there.
    folder: String,
}

impl Sources {
    fn of(plan: &Plan) -> Self {
        let name = &plan.name;
        match &plan.sources {
            None => Self {
                context: format!(
                    "In the folder of the workspace, which has all that it needs: docker build --tag {name} --file Dockerfile ."
                ),
                copies: "COPY . /build\n".to_owned(),
                folder: "/build".to_owned(),
            },
            Some((product, others)) => {
                let all: Vec<&str> = [product].into_iter().chain(others).map(String::as_str).collect();
                Self {
                    context: format!(
                        "In the folder that has {}: docker build --tag {name} --file {product}/Dockerfile .",
                        all.join(" and ")
                    ),
                    copies: all.iter().map(|folder| format!("COPY {folder} /build/{folder}\n")).collect(),
                    folder: format!("/build/{product}"),
                }
            }
        }
    }
}

//! What expressions of webhooks and policies may use: the objects, the request, the namespace, the
//! parameters, the authorizer, and the policy's own variables.

use cel::{Environment, Fields, Library, Object, Opaque, Type};

/// The variables and libraries of one configuration's expressions.
#[derive(Clone)]
pub struct Scope {
    environment: Environment,
    variables: Vec<(Box<str>, Type)>,
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields
        .iter()
        .map(|(name, ty)| ((*name).into(), ty.clone()))
        .collect();
    Type::Object(Object {
        name: name.into(),
        fields: Fields::Listed(fields),
    })
}

fn list(of: Type) -> Type {
    Type::List(of.into())
}

fn map(of: Type) -> Type {
    Type::Map((Type::String, of).into())
}

fn request() -> Type {
    use Type::{Bool, Dyn, String};
    let kind = object(
        "kubernetes.GroupVersionKind",
        &[("group", String), ("version", String), ("kind", String)],
    );
    let resource = object(
        "kubernetes.GroupVersionResource",
        &[("group", String), ("version", String), ("resource", String)],
    );
    let user = object(
        "kubernetes.UserInfo",
        &[
            ("username", String),
            ("uid", String),
            ("groups", list(String)),
            ("extra", map(list(String))),
        ],
    );
    object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", String),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", String),
            ("name", String),
            ("namespace", String),
            ("operation", String),
            ("userInfo", user),
            ("dryRun", Bool),
            ("options", Dyn),
        ],
    )
}

fn namespace() -> Type {
    use Type::{Int, String, Timestamp};
    let condition = object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", String),
            ("type", String),
            ("lastTransitionTime", Timestamp),
            ("message", String),
            ("reason", String),
        ],
    );
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", String),
            ("generateName", String),
            ("namespace", String),
            ("labels", map(String)),
            ("annotations", map(String)),
            ("UID", String),
            ("creationTimestamp", Timestamp),
            ("deletionGracePeriodSeconds", Int),
            ("deletionTimestamp", Timestamp),
            ("generation", Int),
            ("resourceVersion", String),
            ("finalizers", list(String)),
        ],
    );
    object(
        "kubernetes.Namespace",
        &[
            ("metadata", metadata),
            (
                "spec",
                object("kubernetes.NamespaceSpec", &[("finalizers", list(String))]),
            ),
            (
                "status",
                object(
                    "kubernetes.NamespaceStatus",
                    &[("conditions", list(condition)), ("phase", String)],
                ),
            ),
        ],
    )
}

impl Scope {
    /// What all of them have; `params` and `authorizer` where they may be asked for.
    pub fn new(params: bool, authorizer: bool) -> Scope {
        Scope::with_objects(params, authorizer, Type::Dyn, Type::Dyn)
    }

    /// With known types of the objects and the parameters, as type checking wants it.
    pub fn with_objects(params: bool, authorizer: bool, object: Type, params_type: Type) -> Scope {
        let mut environment = Environment::new()
            .with("object", object.clone())
            .with("oldObject", object)
            .with("namespaceObject", namespace())
            .with("request", request());
        if params {
            environment.declare("params", params_type);
        }
        if authorizer {
            environment.declare("authorizer", Type::Opaque(Opaque::Authorizer));
            environment.declare(
                "authorizer.requestResource",
                Type::Opaque(Opaque::ResourceCheck),
            );
        }
        let mut scope = Scope {
            environment,
            variables: Vec::new(),
        };
        scope.declare_variables();
        scope
    }

    /// With what mutations construct.
    #[must_use]
    pub fn with_mutations(&self) -> Scope {
        Scope {
            environment: self.environment.clone().with_library(Library::Mutation),
            variables: self.variables.clone(),
        }
    }

    /// Without the authorizer: what messages are made with.
    #[must_use]
    pub fn for_messages(&self, params: bool) -> Scope {
        let mut scope = Scope::new(params, false);
        scope.variables.clone_from(&self.variables);
        scope.declare_variables();
        scope
    }

    /// Declares `variables.<name>`, for the expressions after it.
    pub fn add_variable(&mut self, name: &str, ty: Type) {
        self.variables.push((name.into(), ty));
        self.declare_variables();
    }

    fn declare_variables(&mut self) {
        let variables = Type::Object(Object {
            name: "kubernetes.variables".into(),
            fields: Fields::Listed(self.variables.as_slice().into()),
        });
        self.environment.declare("variables", variables);
    }

    /// The environment as it is now.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }
}

//! Burn's traits for [`Conv`], written by hand as Burn's derive would write them. There is one
//! difference: to map a convolution may make it a convolution for inference.

use core::fmt;

use burn::module::{
    Content, Devices, DisplaySettings, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
    ModuleVisitor,
};
use burn::tensor::Device;

use crate::conv::Conv;
#[cfg(feature = "std")]
use crate::inference::is_packing;
#[cfg(feature = "std")]
use crate::packed_conv::{NO_WEIGHTS, PackedConv};

const CONTAINER: &str = "Enum:Conv";

/// Applies one expression to each kind of convolution. The result is of the same kind.
macro_rules! each {
    ($self:expr, $conv:ident => $module:expr) => {
        match $self {
            Self::Dense($conv) => Self::Dense($module),
            Self::Linear($conv) => Self::Linear($module),
            #[cfg(feature = "std")]
            Self::Packed($conv) => Self::Packed($module),
        }
    };
}

impl Module for Conv {
    fn collect_devices(&self, devices: Devices) -> Devices {
        match self {
            Self::Dense(conv) => conv.collect_devices(devices),
            Self::Linear(conv) => conv.collect_devices(devices),
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.collect_devices(devices),
        }
    }

    fn fork(self, device: &Device) -> Self {
        each!(self, conv => conv.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        each!(self, conv => conv.to_device(device))
    }

    fn train(self) -> Self {
        each!(self, conv => conv.train())
    }

    fn valid(&self) -> Self {
        each!(self, conv => conv.valid())
    }

    fn materialize(self) -> Self {
        each!(self, conv => conv.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        match self {
            Self::Dense(conv) => {
                visitor.enter_module("Dense", CONTAINER);
                conv.visit(visitor);
                visitor.exit_module("Dense", CONTAINER);
            }
            Self::Linear(conv) => {
                visitor.enter_module("Linear", CONTAINER);
                conv.visit(visitor);
                visitor.exit_module("Linear", CONTAINER);
            }
            #[cfg(feature = "std")]
            Self::Packed(conv) => conv.visit(visitor),
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        #[cfg(feature = "std")]
        if is_packing() {
            return match self {
                Self::Packed(conv) => Self::Packed(conv),
                conv => Self::Packed(PackedConv::new(conv)),
            };
        }
        match self {
            Self::Dense(conv) => {
                mapper.enter_module("Dense", CONTAINER);
                let conv = conv.map(mapper);
                mapper.exit_module("Dense", CONTAINER);
                Self::Dense(conv)
            }
            Self::Linear(conv) => {
                mapper.enter_module("Linear", CONTAINER);
                let conv = conv.map(mapper);
                mapper.exit_module("Linear", CONTAINER);
                Self::Linear(conv)
            }
            #[cfg(feature = "std")]
            Self::Packed(conv) => Self::Packed(conv.map(mapper)),
        }
    }
}

impl ModuleDisplay for Conv {}

impl ModuleDisplayDefault for Conv {
    fn content(&self, content: Content) -> Option<Content> {
        match self {
            Self::Dense(conv) => content.set_top_level_type("Dense").add("_0", conv),
            Self::Linear(conv) => content.set_top_level_type("Linear").add("_0", conv),
            #[cfg(feature = "std")]
            Self::Packed(conv) => content.set_top_level_type("Packed").add("_0", conv),
        }
        .optional()
    }

    fn num_params(&self) -> usize {
        match self {
            #[cfg(feature = "std")]
            Self::Packed(conv) => ModuleDisplayDefault::num_params(conv),
            conv => Module::num_params(conv),
        }
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.format(DisplaySettings::default()))
    }
}

/// A convolution that is made for inference has no parameters for visitors and mappers.
#[cfg(feature = "std")]
impl Module for PackedConv {
    fn collect_devices(&self, mut devices: Devices) -> Devices {
        if !devices.contains(self.device()) {
            devices.push(self.device().clone());
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        self.to_device(device)
    }

    fn to_device(self, device: &Device) -> Self {
        assert!(self.device() == device, "{NO_WEIGHTS}");
        self
    }

    fn train(self) -> Self {
        panic!("{NO_WEIGHTS}")
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {
        panic!("{NO_WEIGHTS}")
    }

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        panic!("{NO_WEIGHTS}")
    }
}

#[cfg(feature = "std")]
impl ModuleDisplay for PackedConv {}

#[cfg(feature = "std")]
impl ModuleDisplayDefault for PackedConv {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_debug_attribute("cost", &self.cost()).optional()
    }

    fn num_params(&self) -> usize {
        self.cost().parameters()
    }
}

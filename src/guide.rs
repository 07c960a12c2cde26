// A page links to other pages and to items of the crate by reference links. Its last lines define them
// for GitHub. The definitions here stand ahead of the page and lead to modules and items: in Markdown
// the first definition of a name counts. There is one list for this module and one for its pages.

//! [mathematics.md]: crate::guide::mathematics
//! [variants.md]: crate::guide::variants
//! [training.md]: crate::guide::training
//! [compression.md]: crate::guide::compression
//! [import.md]: crate::guide::import
//! [pruning.md]: crate::guide::pruning
//! [inference.md]: crate::guide::inference
//! [files.md]: crate::guide::files
//! [backends.md]: crate::guide::backends
//! [reliability.md]: crate::guide::reliability
//! [claims.md]: crate::guide::claims
//!
#![doc = include_str!("../docs/README.md")]

/// A page of the guide: a module without code, whose documentation is a file of `docs`. Attributes ahead
/// of its name stand ahead of that text.
macro_rules! page {
    ($(#[$attribute:meta])* $name:ident, $file:literal) => {
        /// [README.md]: crate::guide
        /// [mathematics.md]: crate::guide::mathematics
        /// [variants.md]: crate::guide::variants
        /// [training.md]: crate::guide::training
        /// [compression.md]: crate::guide::compression
        /// [import.md]: crate::guide::import
        /// [pruning.md]: crate::guide::pruning
        /// [inference.md]: crate::guide::inference
        /// [files.md]: crate::guide::files
        /// [backends.md]: crate::guide::backends
        /// [reliability.md]: crate::guide::reliability
        /// [claims.md]: crate::guide::claims
        ///
        /// [`coefficient_l1`]: crate::coefficient_l1
        /// [`CoefficientsConfig`]: crate::CoefficientsConfig
        /// [`Conv`]: crate::Conv
        /// [`conv2d`]: crate::conv2d
        /// [`ConvConfig`]: crate::ConvConfig
        /// [`correlation_loss`]: crate::correlation_loss
        /// [`correlation_matrix`]: crate::correlation_matrix
        /// [`Epilogue`]: crate::Epilogue
        /// [`Evaluation`]: crate::Evaluation
        /// [`LayerCost`]: crate::LayerCost
        /// [`LinearConv2d`]: crate::LinearConv2d
        /// [`LinearConv2dConfig`]: crate::LinearConv2dConfig
        /// [`pruning`]: crate::pruning
        /// [`AdaptiveThreshold`]: crate::pruning::AdaptiveThreshold
        /// [`CubicRamp`]: crate::pruning::CubicRamp
        /// [`SparseCoefficients`]: crate::SparseCoefficients
        ///
        #[cfg_attr(feature = "std", doc = "[`Inference`]: crate::Inference")]
        #[cfg_attr(feature = "fit", doc = "[`Calibration`]: crate::Calibration")]
        #[cfg_attr(feature = "fit", doc = "[`Compression`]: crate::Compression")]
        #[cfg_attr(feature = "fit", doc = "[`LinearConv`]: crate::LinearConv")]
        #[cfg_attr(feature = "fit", doc = "[`Plan`]: crate::Plan")]
        #[cfg_attr(feature = "fit", doc = "[`Plan::apply`]: crate::Plan::apply")]
        #[cfg_attr(feature = "fit", doc = "[`Plan::apply_in_turn`]: crate::Plan::apply_in_turn")]
        #[cfg_attr(feature = "flex", doc = "[`without_kernel`]: crate::without_kernel")]
        ///
        $(#[$attribute])*
        #[doc = include_str!(concat!("../docs/", $file))]
        // GitHub needs the target of a link whose text is the name of a module.
        #[allow(rustdoc::redundant_explicit_links)]
        pub mod $name {}
    };
}

// The picture as it is in place of the page's head, which shows a file that docs.rs does not have: the
// comment ends where the page closes it.
page!(
    /// # The mathematics
    ///
    #[doc = include_str!("../figs/operation.svg")]
    ///
    /// <!--
    mathematics,
    "mathematics.md"
);
page!(variants, "variants.md");
page!(training, "training.md");
// The code of a page runs where the features are that it needs. The page is always to be read.
#[cfg(any(not(doctest), feature = "fit"))]
page!(compression, "compression.md");
#[cfg(any(not(doctest), feature = "fit"))]
page!(import, "import.md");
page!(pruning, "pruning.md");
#[cfg(any(not(doctest), feature = "std"))]
page!(inference, "inference.md");
page!(files, "files.md");
page!(backends, "backends.md");
page!(reliability, "reliability.md");
page!(claims, "claims.md");

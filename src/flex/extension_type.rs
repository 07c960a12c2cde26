//! How a set of tensors passes between Burn's tensors and the tensors of a backend.

/// Implements Burn's `ExtensionType` for `$tensors<B>`, the tensors of a backend in the structure
/// `$of<V>` with one value for each tensor. Burn derives it only for structures without optional
/// tensors. The first tensor decides the backend.
macro_rules! extension_type {
    ($tensors:ident, $of:ident) => {
        impl<B: burn::backend::Backend> burn::backend::ExtensionType<B> for $tensors<B> {
            type Target = $of<burn::backend::DispatchTensor>;

            fn map_to_dispatch<F>(
                self,
                map_kind: F,
                autodiff: burn::backend::DispatchAutodiffContext,
            ) -> Self::Target
            where
                F: Fn(burn::backend::BackendTensor<B>) -> burn::backend::DispatchTensorKind,
            {
                self.map(|tensor| burn::backend::DispatchTensor {
                    kind: map_kind(burn::backend::BackendTensor::Float(tensor)),
                    autodiff,
                })
            }

            fn map_from_dispatch<F>(target: Self::Target, unwrap_kind: F) -> Self
            where
                F: Fn(burn::backend::DispatchTensor) -> burn::backend::BackendTensor<B>,
            {
                target.map(|tensor| unwrap_kind(tensor).float())
            }

            fn routing_tensor(target: &Self::Target) -> Option<&burn::backend::DispatchTensor> {
                target.as_ref().values().next()
            }

            fn routing_float_tensor(
                target: &Self::Target,
            ) -> Option<&burn::backend::DispatchTensor> {
                target.as_ref().values().next()
            }

            fn autodiff_context(target: &Self::Target) -> burn::backend::DispatchAutodiffContext {
                let contexts = target.as_ref().values().map(|tensor| tensor.autodiff);
                let none = burn::backend::DispatchAutodiffContext::Disabled;
                contexts.fold(none, |all, context| all.merge(context))
            }
        }
    };
}

pub(super) use extension_type;

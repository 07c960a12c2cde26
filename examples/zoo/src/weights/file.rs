//! Reads tensors by name from a file. The content of the file tells its format.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use burn::store::bridge;
use burn::store::burn_pack;
use burn::store::pytorch_reader::{PickleValue, PytorchReader};
use burn::store::{ModuleStore, SafetensorsStore};
use burn::tensor::quantization::{
    QuantMode, QuantScheme, QuantStore, QuantValue, QuantizedBytes, quantized_data_len,
};
use burn::tensor::{DType, TensorData};

use super::Error;

/// The tensors of a file, and the names of those that were used.
#[derive(Debug)]
pub struct Tensors {
    tensors: BTreeMap<String, burn_pack::Tensor>,
    used: BTreeSet<String>,
    /// The most bytes that the values of a tensor can have.
    most_bytes: u64,
    /// The metadata of the file.
    pub metadata: BTreeMap<String, String>,
}

/// The keys under which a PyTorch checkpoint may have its weights, when it also holds epochs and optimizers.
const STATES: [&str; 3] = ["model_state_dict.", "state_dict.", "model."];
/// The prefix that `DataParallel` puts before every name.
const PARALLEL: &str = "module.";
/// The end of the names of PyTorch's counts of batches, which a network does not need.
const COUNTER: &str = "num_batches_tracked";
/// The number of bytes that a byte of a file can stand for at most: deflate does not compress better.
const DEFLATED: u64 = 1032;

/// Reads the names and shapes of the tensors in a file. Values are read later, when they are used.
///
/// # Errors
/// - [`Error::Io`]: the file cannot be read.
/// - [`Error::Format`]: the file has another format.
/// - [`Error::Damaged`]: the file is damaged, or Python would run code of it.
pub fn read(path: &Path) -> Result<Tensors, Error> {
    let mut begin = Vec::new();
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.by_ref().take(16).read_to_end(&mut begin)?;
    let format = match begin.as_slice() {
        [b'N', b'R', b'U', b'B', ..] => Format::Burnpack,
        [_, _, _, _, _, _, _, _, b'{', ..] => Format::SafeTensors,
        [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..] => Format::PyTorch,
        _ => return Err(Error::Format { begin }),
    };
    // The reader panics on content that it does not expect.
    let read = panic::catch_unwind(AssertUnwindSafe(|| format.read(path)));
    let unexpected = || Err("its content is not what its header says".into());
    let (tensors, metadata) = read
        .unwrap_or_else(|_| unexpected())
        .map_err(|reason| format.damaged(reason))?;
    Ok(Tensors {
        tensors: without_prefixes(tensors),
        used: BTreeSet::new(),
        most_bytes: length.saturating_mul(DEFLATED),
        metadata,
    })
}

#[derive(Clone, Copy)]
enum Format {
    Burnpack,
    SafeTensors,
    PyTorch,
}

type Content = (Vec<burn_pack::Tensor>, BTreeMap<String, String>);

impl Format {
    fn read(self, path: &Path) -> Result<Content, String> {
        match self {
            Self::Burnpack => {
                let reader = burn_pack::Reader::from_file_exact(path);
                let reader = reader.map_err(|error| error.to_string())?;
                let metadata = reader.metadata().clone();
                let tensors = reader.into_tensors().map_err(|error| error.to_string())?;
                Ok((tensors, metadata))
            }
            Self::SafeTensors => {
                let mut store = SafetensorsStore::from_file(path).map_indices_contiguous(false);
                let tensors = store.get_all_tensors().map_err(|error| error.to_string())?;
                let tensors = tensors.values().cloned().collect();
                Ok((tensors, safetensors_metadata(path)?))
            }
            Self::PyTorch => {
                let content = PytorchReader::read_pickle_data(path, None);
                let content = content.map_err(|error| error.to_string())?;
                if let Some(name) = running_code(&content) {
                    return Err(format!(
                        "it would run `{name}` when Python loads it; nothing was run here, and \
                         nothing is read from it"
                    ));
                }
                let reader = PytorchReader::new(path).map_err(|error| error.to_string())?;
                let tensors = reader.into_tensors().into_values();
                Ok((tensors.map(bridge::from_pytorch).collect(), BTreeMap::new()))
            }
        }
    }

    fn damaged(self, reason: String) -> Error {
        let format = match self {
            Self::Burnpack => "burnpack",
            Self::SafeTensors => "SafeTensors",
            Self::PyTorch => "PyTorch checkpoint",
        };
        Error::Damaged { format, reason }
    }
}

/// The name of a function that runs code of the author when Python loads the file, if the file names such a
/// function.
fn running_code(value: &PickleValue) -> Option<&str> {
    const MODULES: [&str; 13] = [
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "runpy",
        "shutil",
        "socket",
        "importlib",
        "ctypes",
        "pty",
        "code",
        "webbrowser",
    ];
    const BUILT_IN: [&str; 6] = ["eval", "exec", "compile", "getattr", "open", "__import__"];
    match value {
        PickleValue::Unsupported(name) => {
            let (module, function) = name.split_once('.').unwrap_or((name, ""));
            let built_in = matches!(module, "builtins" | "__builtin__");
            let runs = MODULES.contains(&module) || built_in && BUILT_IN.contains(&function);
            runs.then_some(name)
        }
        PickleValue::List(values) => values.iter().find_map(running_code),
        PickleValue::Dict(values) => values.values().find_map(running_code),
        _ => None,
    }
}

/// The metadata of a SafeTensors file. The tensors must have been read without an error before.
fn safetensors_metadata(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let header = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let mut header = Vec::new();
        file.take(u64::from_le_bytes(length))
            .read_to_end(&mut header)?;
        Ok(header)
    };
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(default)]
        __metadata__: BTreeMap<String, String>,
    }
    let header = header().map_err(|error| error.to_string())?;
    let header: Header = serde_json::from_slice(&header).map_err(|error| error.to_string())?;
    Ok(header.__metadata__)
}

/// Keeps only the tensors of the network, and removes prefixes from their names.
fn without_prefixes(tensors: Vec<burn_pack::Tensor>) -> BTreeMap<String, burn_pack::Tensor> {
    let state = STATES.iter().find(|state| {
        let mut tensors = tensors.iter();
        tensors.any(|tensor| tensor.name.starts_with(**state))
    });
    let named = tensors.into_iter().filter_map(|tensor| {
        let name = match state {
            Some(state) => tensor.name.strip_prefix(*state)?,
            None => &tensor.name,
        };
        let name = name.strip_prefix(PARALLEL).unwrap_or(name).to_string();
        Some((name, tensor))
    });
    named.filter(|(name, _)| !name.ends_with(COUNTER)).collect()
}

impl Tensors {
    /// The names of the tensors that were not used.
    pub fn unused(&self) -> Vec<&str> {
        let names = self
            .tensors
            .keys()
            .filter(|name| !self.used.contains(*name));
        names.map(String::as_str).collect()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if the file has the tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.tensors.get(name).map(|tensor| tensor.shape.to_vec())
    }

    /// The values of a tensor. The file must have the tensor. In `shape`, 0 stands for any size.
    ///
    /// # Errors
    /// [`Error::Shape`] if the tensor has another shape, and [`Error::Damaged`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<TensorData, Error> {
        let found = self.shape(name).unwrap_or_default();
        let fits = |(expected, found): (&usize, &usize)| *expected == 0 || expected == found;
        if found.len() != shape.len() || !shape.iter().zip(&found).all(fits) {
            return Err(Error::Shape {
                name: name.into(),
                expected: shape.to_vec(),
                found,
            });
        }
        self.used.insert(name.into());
        let damaged = |reason: &str| Error::Damaged {
            format: "tensor",
            reason: format!("{name}: {reason}"),
        };
        let tensor = self.tensors[name].clone();
        // A tensor of PyTorch can repeat one value any number of times.
        if tensor.byte_len() as u64 > self.most_bytes {
            return Err(damaged("it has more values than the file can hold"));
        }
        // The reader panics on content that it does not expect.
        match panic::catch_unwind(AssertUnwindSafe(|| bridge::into_data(tensor))) {
            Ok(data) => data.map_err(|error| damaged(&error.to_string())),
            Err(_) => Err(damaged("its values cannot be read")),
        }
    }

    /// The values of a tensor as 32-bit floats. The tensor may be in 8 bits.
    ///
    /// # Errors
    /// The errors of [`take`](Self::take), and [`Error::Type`] if the tensor has no floats.
    pub fn floats(&mut self, name: &str, shape: &[usize]) -> Result<TensorData, Error> {
        let data = self.take(name, shape)?;
        match data.dtype() {
            DType::F64 | DType::F32 | DType::F16 | DType::BF16 => {
                Ok(data.convert_dtype(DType::F32))
            }
            DType::QFloat(scheme) => {
                // Sizes that overflow make Burn panic.
                let read = AssertUnwindSafe(|| dequantized(data, scheme));
                let read = panic::catch_unwind(read);
                read.unwrap_or(Err("its values cannot be read"))
                    .map_err(|reason| Error::Damaged {
                        format: "tensor",
                        reason: format!("{name}: {reason}"),
                    })
            }
            other => Err(Error::Type {
                name: name.into(),
                expected: "floats",
                found: format!("{other:?}"),
            }),
        }
    }
}

/// Turns a tensor in 8 bits into 32-bit floats.
fn dequantized(data: TensorData, scheme: QuantScheme) -> Result<TensorData, &'static str> {
    let symmetric = matches!(scheme.value, QuantValue::Q8S | QuantValue::Q8F)
        && scheme.mode == QuantMode::Symmetric;
    if !symmetric || scheme.store != QuantStore::Native || scheme.block_size().is_some() {
        return Err("only quantized tensors in 8 bits with one scale can be read");
    }
    let shape = data.shape().clone();
    if data.as_bytes().len() != quantized_data_len(&scheme, &shape) {
        return Err("it has another number of bytes than its shape needs");
    }
    let bytes = data.into_bytes();
    let (codes, scales) = QuantizedBytes {
        bytes,
        scheme,
        shape: shape.clone(),
    }
    .into_vec_i8();
    let scale = scales.block[0];
    let values: Vec<f32> = codes
        .into_iter()
        .map(|code| scale * f32::from(code))
        .collect();
    Ok(TensorData::new(values, shape))
}

"""Runtimes for ONNX: each makes of the path of a model a function from images to logits."""


def onnx_runtime(model, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    [images] = session.get_inputs()
    return lambda batch: session.run(None, {images.name: batch})[0]


def openvino(model, threads):
    import openvino

    core = openvino.Core()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        # Otherwise it computes in bfloat16 where the machine can.
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    compiled = core.compile_model(core.read_model(model), "CPU", options)
    request = compiled.create_infer_request()
    return lambda batch: request.infer(batch, share_inputs=True, share_outputs=True)[0]


ENGINES = {"ONNX Runtime": onnx_runtime, "OpenVINO": openvino}

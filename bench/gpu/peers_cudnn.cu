// cuDNN as a peer of our convolutions and softmax: version 9, whose legacy functions are deprecated but there. They
// name one convolution in one call, as our kernels do.

#include <cudnn.h>

#include "clearsky/cpu/copy.hpp"
#include "clearsky/cuda/kernels/copy.cuh"
#include "peers.hpp"

namespace clearsky::cuda::bench {
namespace {

void check_cudnn(cudnnStatus_t status, const char* what) {
  CLEARSKY_CHECK(DeviceError, status == CUDNN_STATUS_SUCCESS, what, ": ", cudnnGetErrorString(status),
                 " (cuDNN status ", int(status), "); build without cuDNN to measure without this peer");
}

/// One for the program: making one takes long.
cudnnHandle_t handle_on(Stream stream) {
  static const cudnnHandle_t handle = [] {
    cudnnHandle_t made = nullptr;
    check_cudnn(cudnnCreate(&made), "cudnnCreate");
    return made;
  }();
  check_cudnn(cudnnSetStream(handle, stream), "cudnnSetStream");
  return handle;
}

struct TensorShape {
  cudnnTensorDescriptor_t of = nullptr;
  TensorShape() { check_cudnn(cudnnCreateTensorDescriptor(&of), "cudnnCreateTensorDescriptor"); }
  TensorShape(cudnnDataType_t type, int64_t n, int64_t h, int64_t w, int64_t c) : TensorShape() {
    check_cudnn(cudnnSetTensor4dDescriptor(of, CUDNN_TENSOR_NHWC, type, int(n), int(c), int(h), int(w)),
                "cudnnSetTensor4dDescriptor");
  }
  ~TensorShape() { cudnnDestroyTensorDescriptor(of); }
  TensorShape(const TensorShape&) = delete;
  TensorShape& operator=(const TensorShape&) = delete;
};

enum class Pass { forward, data_gradient, weight_gradient };

/// @param p  of the algorithms that cuDNN has timed, fastest first: the first that keeps to our precision
template <class Timed>
const Timed& chosen(const Timed* p, int count, Precision precision) {
  for (int i = 0; i < count; ++i)
    if (p[i].status == CUDNN_STATUS_SUCCESS &&
        (precision != Precision::float32 || p[i].mathType == CUDNN_FMA_MATH || p[i].mathType == CUDNN_DEFAULT_MATH))
      return p[i];
  CLEARSKY_FAIL(ValueError, "cudnn_peer: cuDNN finds no algorithm in ", precision,
                " for this convolution; leave the peer out");
}

class CudnnConvolution {
 public:
  /// @param image, output  (batch, height, width, channels) and (batch, out_height, out_width, outputs); null for what
  ///                       is computed, which goes to `result`
  CudnnConvolution(Pass pass, const cpu::ConvShape& s, const float* image, const float* weight, const float* output,
                   float* result, Precision precision)
      : pass_(pass),
        narrow_(precision == Precision::bfloat16),
        image_(type(), s.batch, s.height, s.width, s.channels),
        output_(type(), s.batch, s.out_height, s.out_width, s.outputs) {
    check_cudnn(cudnnCreateFilterDescriptor(&weight_), "cudnnCreateFilterDescriptor");
    check_cudnn(cudnnCreateConvolutionDescriptor(&convolution_), "cudnnCreateConvolutionDescriptor");
    check_cudnn(cudnnSetFilter4dDescriptor(weight_, type(), CUDNN_TENSOR_NHWC, int(s.outputs),
                                           int(s.channels / s.groups), int(s.window_height), int(s.window_width)),
                "cudnnSetFilter4dDescriptor");
    check_cudnn(cudnnSetConvolution2dDescriptor(convolution_, int(s.padding_height), int(s.padding_width),
                                                int(s.stride_height), int(s.stride_width), int(s.dilation),
                                                int(s.dilation), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
                "cudnnSetConvolution2dDescriptor");
    check_cudnn(cudnnSetConvolutionGroupCount(convolution_, int(s.groups)), "cudnnSetConvolutionGroupCount");
    // The default would take tf32 for float data.
    check_cudnn(cudnnSetConvolutionMathType(convolution_,
                                            precision == Precision::float32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH),
                "cudnnSetConvolutionMathType");
    const int64_t images = s.batch * s.height * s.width * s.channels,
                  outputs = s.batch * s.out_height * s.out_width * s.outputs,
                  weights = s.outputs * s.window_height * s.window_width * (s.channels / s.groups);
    x_ = place(image, result, images);
    w_ = place(weight, result, weights);
    y_ = place(output, result, outputs);
    synchronize(nullptr);
    choose(precision);
  }
  ~CudnnConvolution() {
    cudnnDestroyConvolutionDescriptor(convolution_);
    cudnnDestroyFilterDescriptor(weight_);
  }
  CudnnConvolution(const CudnnConvolution&) = delete;
  CudnnConvolution& operator=(const CudnnConvolution&) = delete;

  void operator()(Stream stream) const {
    const float one = 1, zero = 0;
    const cudnnHandle_t h = handle_on(stream);
    void* const room = room_ == nullptr ? nullptr : room_->data();
    if (pass_ == Pass::forward)
      check_cudnn(
          cudnnConvolutionForward(h, &one, image_.of, x_, weight_, w_, convolution_,
                                  cudnnConvolutionFwdAlgo_t(algorithm_), room, room_bytes_, &zero, output_.of, y_),
          "cudnnConvolutionForward");
    else if (pass_ == Pass::data_gradient)
      check_cudnn(cudnnConvolutionBackwardData(h, &one, weight_, w_, output_.of, y_, convolution_,
                                               cudnnConvolutionBwdDataAlgo_t(algorithm_), room, room_bytes_, &zero,
                                               image_.of, x_),
                  "cudnnConvolutionBackwardData");
    else
      check_cudnn(cudnnConvolutionBackwardFilter(h, &one, image_.of, x_, output_.of, y_, convolution_,
                                                 cudnnConvolutionBwdFilterAlgo_t(algorithm_), room, room_bytes_, &zero,
                                                 weight_, w_),
                  "cudnnConvolutionBackwardFilter");
  }

 private:
  cudnnDataType_t type() const { return narrow_ ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

  /// Where cuDNN finds an array: where it is, or a copy in bfloat16; null is the result.
  void* place(const float* from, float* result, int64_t count) {
    if (!narrow_) return from == nullptr ? result : const_cast<float*>(from);
    auto& to = narrowed_.emplace_back(std::make_unique<DeviceArray<BFloat16>>(count));
    if (from != nullptr) copy(cpu::Copy<float, BFloat16>{from, Shape{1}, to->data(), Shape{1}, Shape{count}}, nullptr);
    return to->data();
  }

  /// Lets cuDNN time what it has, on memory of its own.
  void choose(Precision precision) {
    constexpr int kMost = 16;
    const cudnnHandle_t h = handle_on(nullptr);
    int found = 0;
    const auto take = [&](const auto& best) {
      algorithm_ = int(best.algo);
      room_bytes_ = best.memory;
      if (room_bytes_ != 0) room_ = std::make_unique<DeviceArray<char>>(int64_t(room_bytes_));
    };
    if (pass_ == Pass::forward) {
      cudnnConvolutionFwdAlgoPerf_t p[kMost];
      check_cudnn(
          cudnnFindConvolutionForwardAlgorithm(h, image_.of, weight_, convolution_, output_.of, kMost, &found, p),
          "cudnnFindConvolutionForwardAlgorithm");
      take(chosen(p, found, precision));
    } else if (pass_ == Pass::data_gradient) {
      cudnnConvolutionBwdDataAlgoPerf_t p[kMost];
      check_cudnn(
          cudnnFindConvolutionBackwardDataAlgorithm(h, weight_, output_.of, convolution_, image_.of, kMost, &found, p),
          "cudnnFindConvolutionBackwardDataAlgorithm");
      take(chosen(p, found, precision));
    } else {
      cudnnConvolutionBwdFilterAlgoPerf_t p[kMost];
      check_cudnn(cudnnFindConvolutionBackwardFilterAlgorithm(h, image_.of, output_.of, convolution_, weight_, kMost,
                                                              &found, p),
                  "cudnnFindConvolutionBackwardFilterAlgorithm");
      take(chosen(p, found, precision));
    }
  }

  Pass pass_;
  bool narrow_;
  TensorShape image_, output_;
  cudnnFilterDescriptor_t weight_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  std::vector<std::unique_ptr<DeviceArray<BFloat16>>> narrowed_;
  std::unique_ptr<DeviceArray<char>> room_;
  void *x_ = nullptr, *w_ = nullptr, *y_ = nullptr;
  int algorithm_ = 0;
  size_t room_bytes_ = 0;
};

/// What make() makes, or why there is none.
template <class Make>
Peer peer_of(bool same_output, const Make& make) {
  Peer peer{.name = "cudnn", .same_output = same_output};
  try {
    synchronize(nullptr);
    peer.work = make();
  } catch (const std::exception& e) {
    peer.refusal = e.what();
  }
  return peer;
}
Peer convolution_peer(Pass pass, const cpu::ConvShape& s, const float* image, const float* weight, const float* output,
                      float* result, Precision precision) {
  return peer_of(precision != Precision::bfloat16, [&]() -> Work {
    const auto c = std::make_shared<CudnnConvolution>(pass, s, image, weight, output, result, precision);
    return [c](Stream stream) { (*c)(stream); };
  });
}

}  // namespace

Peer cudnn_peer(const cpu::Conv2dForward<float>& p, Precision precision) {
  return convolution_peer(Pass::forward, p.shape, p.x, p.weight, nullptr, p.y, precision);
}
Peer cudnn_peer(const cpu::Conv2dDataGradient<float>& p, Precision precision) {
  return convolution_peer(Pass::data_gradient, p.shape, nullptr, p.weight, p.dy, p.dx, precision);
}
Peer cudnn_peer(const cpu::Conv2dWeightGradient<float>& p, Precision precision) {
  return convolution_peer(Pass::weight_gradient, p.shape, p.x, nullptr, p.dy, p.dweight, precision);
}

Peer cudnn_peer(const cpu::Softmax<float>& p) {
  return peer_of(true, [&]() -> Work {
    const auto shape = std::make_shared<TensorShape>(CUDNN_DATA_FLOAT, p.outer, 1, 1, p.n);
    return [shape, p](Stream stream) {
      const float one = 1, zero = 0;
      check_cudnn(cudnnSoftmaxForward(handle_on(stream), p.logarithm ? CUDNN_SOFTMAX_LOG : CUDNN_SOFTMAX_ACCURATE,
                                      CUDNN_SOFTMAX_MODE_INSTANCE, &one, shape->of, p.x, &zero, shape->of, p.y),
                  "cudnnSoftmaxForward");
    };
  });
}
Peer cudnn_softmax_backward_peer(const float* y, const float* dy, float* dx, int64_t rows, int64_t classes,
                                 bool logarithm) {
  return peer_of(true, [&]() -> Work {
    const auto shape = std::make_shared<TensorShape>(CUDNN_DATA_FLOAT, rows, 1, 1, classes);
    return [=](Stream stream) {
      const float one = 1, zero = 0;
      check_cudnn(
          cudnnSoftmaxBackward(handle_on(stream), logarithm ? CUDNN_SOFTMAX_LOG : CUDNN_SOFTMAX_ACCURATE,
                               CUDNN_SOFTMAX_MODE_INSTANCE, &one, shape->of, y, shape->of, dy, &zero, shape->of, dx),
          "cudnnSoftmaxBackward");
    };
  });
}

}  // namespace clearsky::cuda::bench

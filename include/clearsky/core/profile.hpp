#pragma once
// Where time goes: what operations, modules and backward tell whoever listens.
//
// Nobody listens by default, and then each of these scopes costs one comparison of a thread's own pointer with null.
// io::Profiler (clearsky/io/profiler.hpp) is a listener; so can be anything else that wants to know, such as the
// markers of a vendor's tool.

#include <cstdint>

namespace clearsky {

enum class Pass : uint8_t { forward, backward };

/// A module as its listener knows it: the listener's number in the upper half, the module's in the lower. 0: none, or
/// that of no listener.
using ProfiledModule = uint64_t;

/// Is told what begins and ends on one thread. What begins last ends first.
class ProfileListener {
 public:
  virtual ~ProfileListener() = default;
  /// @param operation  its kName, which lives as long as the program; null where a module begins
  virtual void begin(ProfiledModule module, const char* operation, Pass pass) = 0;
  virtual void end() noexcept = 0;
  /// The module at an address, which is of the type that `type` stands for, as its first member has the same address.
  /// 0: it has no name.
  virtual ProfiledModule find(const void* address, const void* type) = 0;
  /// A part that is no module, named within one, as "loss".
  virtual ProfiledModule part(ProfiledModule within, const char* name) = 0;
};

namespace detail {

struct ProfileState {
  ProfileListener* listener = nullptr;
  ProfiledModule module = 0;
  Pass pass = Pass::forward;
};
inline constinit thread_local ProfileState profile_state{};

/// An address for each type.
template <class Module>
inline constexpr char kTypeMark = 0;

}  // namespace detail

/// Whether anybody listens on this thread.
inline bool profiling() {
  return detail::profile_state.listener != nullptr;
}

/// What the scopes share: puts the state back and reports the end, also when an exception leaves the scope.
class ProfileScope {
 public:
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 protected:
  ProfileScope() = default;
  ~ProfileScope() {
    if (listener_ != nullptr) [[unlikely]]
      leave();
  }
  [[gnu::cold, gnu::noinline]] void enter(ProfiledModule module, const char* operation, Pass pass) {
    detail::ProfileState& state = detail::profile_state;
    state.listener->begin(module, operation, pass);
    listener_ = state.listener;
    module_ = state.module;
    pass_ = state.pass;
    state.module = module;
    state.pass = pass;
  }

 private:
  [[gnu::cold, gnu::noinline]] void leave() noexcept {
    detail::profile_state.module = module_;
    detail::profile_state.pass = pass_;
    listener_->end();
  }

  ProfileListener* listener_ = nullptr;
  ProfiledModule module_ = 0;  // before
  Pass pass_ = Pass::forward;  // before
};

/// While alive, an operation runs.
class [[nodiscard]] ProfileOperation : ProfileScope {
 public:
  explicit ProfileOperation(const char* name) {
    const detail::ProfileState& state = detail::profile_state;
    if (state.listener != nullptr) [[unlikely]]
      enter(state.module, name, state.pass);
  }
  ProfileOperation(const char* name, Pass pass) {
    const detail::ProfileState& state = detail::profile_state;
    if (state.listener != nullptr) [[unlikely]]
      enter(state.module, name, pass);
  }
};

/// While alive, a module runs. It says no name, only where it is: names come from each_part (clearsky/nn/profile.hpp).
///
///     Tensor<> operator()(const Tensor<>& x) const {
///       const ProfileModule scope(*this);
///       return conv2(relu(conv1(x)));
///     }
class [[nodiscard]] ProfileModule : ProfileScope {
 public:
  template <class Module>
  explicit ProfileModule(const Module& module) {
    if (profiling()) [[unlikely]]
      announce(&module, &detail::kTypeMark<Module>);
  }

 private:
  [[gnu::cold, gnu::noinline]] void announce(const void* address, const void* type) {
    const detail::ProfileState& state = detail::profile_state;
    if (const ProfiledModule module = state.listener->find(address, type); module != 0)
      enter(module, nullptr, state.pass);
  }
};

/// While alive, a part runs that is no module: "loss", "optimizer".
class [[nodiscard]] ProfilePart : ProfileScope {
 public:
  explicit ProfilePart(const char* name) {
    const detail::ProfileState& state = detail::profile_state;
    if (state.listener != nullptr) [[unlikely]]
      enter(state.listener->part(state.module, name), nullptr, state.pass);
  }
};

/// While alive, backward runs through what a module has recorded. For the engine.
class [[nodiscard]] ProfileBackward : ProfileScope {
 public:
  /// @param recorded_in  as recording_module() was
  explicit ProfileBackward(ProfiledModule recorded_in) {
    if (profiling()) [[unlikely]]
      go_back(recorded_in);
  }

 private:
  [[gnu::cold, gnu::noinline]] void go_back(ProfiledModule module) {
    const ProfiledModule now = detail::profile_state.module, none = now >> 32 << 32;
    // Recorded before anybody listened, or for another listener: of no module that is known here.
    if (module >> 32 != now >> 32) module = none;
    if (module != none || now != none) enter(module, nullptr, Pass::backward);
  }
};

/// What an operation that is being recorded keeps for ProfileBackward.
inline ProfiledModule recording_module() {
  return detail::profile_state.module;
}

}  // namespace clearsky

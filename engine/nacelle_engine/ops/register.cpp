// Makes the kernels the CPU implementation of nacelle::*, for eager calls (tests, timing, the gate).
// Compiled programs call the C functions directly and need none of this.
#include <memory>

#include "tensor.h"

namespace nacelle {
void register_attention(Library&);
void register_linear(Library&);
void register_norm(Library&);
void register_norm_gate_up(Library&);
void register_norm_linear(Library&);
void register_norm_logits(Library&);

namespace {
std::unique_ptr<Library> registered;
}
}  // namespace nacelle

extern "C" void nacelle_register() {
  using namespace nacelle;
  registered = std::make_unique<Library>(Library::Kind::IMPL, "nacelle", "CPU", __FILE__, __LINE__);
  register_attention(*registered);
  register_linear(*registered);
  register_norm(*registered);
  register_norm_gate_up(*registered);
  register_norm_linear(*registered);
  register_norm_logits(*registered);
}

extern "C" void nacelle_unregister() { nacelle::registered.reset(); }

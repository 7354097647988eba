// Whether the tiles of tile.h may be used: what the CPU has, and what the kernel grants.
#include "tile.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace nacelle {
namespace {

#if defined(NACELLE_EMULATED_TILES)
bool granted() { return true; }
#else
// Linux keeps the tiles' 8 KiB of state only for processes that asked for it (arch/x86/xstate).
bool granted() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  __builtin_cpu_init();
  return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

}  // namespace

const bool kTiles = granted();

}  // namespace nacelle

// The kernel that bfloat16 products run on in this process.
extern "C" const char* nacelle_bfloat16_kernel() { return nacelle::kTiles ? "amx-bf16" : "fma"; }

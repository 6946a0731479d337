//! Blocks by the matrix unit of Intel processors (AMX).

use super::block::{BLOCK, Operands};
use std::marker::PhantomData;

/// Whether the processor has it and the system lets this process use it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[allow(unsafe_code)]
pub(super) fn available() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    use std::sync::OnceLock;
    const PERMISSION: libc::c_long = 0x1023; // ARCH_REQ_XCOMP_PERM
    const TILE_DATA: libc::c_long = 18;

    #[target_feature(enable = "xsave")]
    fn enabled_state() -> u64 {
        // SAFETY: the caller has checked that the system uses XSAVE.
        unsafe { _xgetbv(0) }
    }
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| {
        // SAFETY: cpuid exists on every x86_64; its leaf 0 says which others do; leaf 1 whether xgetbv may be
        // executed; the system call only asks the kernel for permission to use the tiles.
        unsafe {
            if __cpuid(0).eax < 7 || __cpuid(1).ecx & (1 << 27) == 0 {
                return false;
            }
            let has = __cpuid_count(7, 0).edx;
            let (bf16, tiles) = (has & (1 << 22) != 0, has & (1 << 24) != 0);
            let saved = enabled_state() & (3 << 17) == 3 << 17;
            bf16 && tiles && saved && libc::syscall(libc::SYS_arch_prctl, PERMISSION, TILE_DATA) == 0
        }
    })
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(super) fn available() -> bool {
    false
}

/// The shape of the tiles of this thread: 8 of 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// While it lives, this thread's tiles have the shape that [`block`] needs; then again the one before.
///
/// It stays on the thread that configured it: a raw pointer is neither `Send` nor `Sync`.
pub(super) struct Tiles(Configuration, PhantomData<*const ()>);

impl Tiles {
    /// Configures the tiles of this thread.
    #[allow(unsafe_code)]
    pub(super) fn configure() -> Self {
        assert!(available(), "AMX blocks on a processor without AMX");
        let mut before = Configuration([0; 64]);
        let mut ours = Configuration([0; 64]);
        ours.0[0] = 1;
        for tile in 0..8 {
            ours.0[16 + 2 * tile] = 64; // bytes a row, as 16-bit numbers
            ours.0[48 + tile] = 16; // rows
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the unit is there; both operands are 64 bytes; libtorch's own configuration is put back by `drop`.
        unsafe {
            std::arch::asm!("sttilecfg [{0}]", "ldtilecfg [{1}]", in(reg) &raw mut before, in(reg) &raw const ours, options(nostack));
        }
        Self(before, PhantomData)
    }
}

impl Drop for Tiles {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: what `configure` has stored; a configuration of zeros is none.
        unsafe {
            std::arch::asm!("ldtilecfg [{0}]", in(reg) &raw const self.0, options(nostack));
        }
    }
}

/// `c = a b`, or `c += a b` where `add`.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(super) fn block(_: &Tiles, operands: &Operands<'_>, c: &mut [f32; BLOCK * BLOCK], add: bool) {
    let Operands { a, stride, b, steps } = operands;
    assert!(*steps > 0 && *stride >= 32 * steps && a.len() >= 31 * stride + 32 * steps);
    assert!(b.iter().all(|b| b.len() >= 512 * steps));
    // SAFETY: the tiles of this thread are configured as long as there are `Tiles`, which cannot leave it; the lengths just
    // checked cover what is loaded: 32 rows of `steps` times 64 bytes of a, `steps` times 1 KiB of each panel; c is 32 x 32
    // float32 numbers.
    unsafe {
        let c = c.as_mut_ptr();
        if add {
            std::arch::asm!(
                "tileloadd tmm0, [{c} + {row}]",
                "tileloadd tmm1, [{c} + {row} + 64]",
                "tileloadd tmm2, [{c} + {row} + 2048]",
                "tileloadd tmm3, [{c} + {row} + 2112]",
                c = in(reg) c, row = in(reg) 128_usize,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack),
            );
        } else {
            std::arch::asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, options(nostack));
        }
        std::arch::asm!(
            "2:",
            "tileloadd tmm4, [{a0} + {stride}]",
            "tileloadd tmm6, [{b0} + {line}]",
            "tileloadd tmm7, [{b1} + {line}]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a1} + {stride}]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {b0}, 1024",
            "add {b1}, 1024",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{c} + {row}], tmm0",
            "tilestored [{c} + {row} + 64], tmm1",
            "tilestored [{c} + {row} + 2048], tmm2",
            "tilestored [{c} + {row} + 2112], tmm3",
            a0 = inout(reg) a.as_ptr() => _,
            a1 = inout(reg) a.as_ptr().add(16 * stride) => _,
            b0 = inout(reg) b[0].as_ptr() => _,
            b1 = inout(reg) b[1].as_ptr() => _,
            steps = inout(reg) *steps => _,
            stride = in(reg) 2 * stride,
            line = in(reg) 64_usize,
            c = in(reg) c,
            row = in(reg) 128_usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn block(_: &Tiles, _operands: &Operands<'_>, _c: &mut [f32; BLOCK * BLOCK], _add: bool) {}

//! The normal distribution conditioned on a symmetric interval.

use std::f64::consts::FRAC_1_SQRT_2;

/// N(0, 1) conditioned on `|z| <= limit`, by inversion in `f64`.
pub(super) struct TruncatedNormal {
    limit: f32,
    /// Φ(−limit), the probability cut off on each side.
    tail: f64,
    /// Φ(limit) − Φ(−limit), the probability kept.
    mass: f64,
}

impl TruncatedNormal {
    /// Panics if `limit` is not positive, or is NaN.
    pub(super) fn new(limit: f32) -> Self {
        assert!(limit > 0.0, "the limit must be positive, not {limit}");
        let scaled = f64::from(limit) * FRAC_1_SQRT_2;
        Self {
            limit,
            tail: 0.5 * libm::erfc(scaled),
            mass: libm::erf(scaled),
        }
    }

    /// `Φ⁻¹(Φ(−c) + u (Φ(c) − Φ(−c)))` for `u` in (0, 1) and limit `c`.
    ///
    /// Computed from the nearer end and with the distance from the middle
    /// formed apart, so that neither a far tail nor a tiny limit cancels.
    pub(super) fn quantile(&self, u: f64) -> f32 {
        let from_end = if u < 0.5 { u } else { 1.0 - u };
        let probability = self.tail + from_end * self.mass;
        let below_half = (0.5 - from_end) * self.mass;
        let size = normal_quantile_size(probability, below_half) as f32;
        let z = if u < 0.5 { -size } else { size };
        z.clamp(-self.limit, self.limit)
    }
}

/// `−Φ⁻¹(p)` for `p` in (0, 1/2], given `p` and `1/2 − p`; relative error
/// about 1e-16.
///
/// Algorithm PPND16 of M. J. Wichura, "Algorithm AS 241: the percentage points
/// of the normal distribution", Applied Statistics 37 (1988), 477-484.
fn normal_quantile_size(p: f64, half_minus_p: f64) -> f64 {
    if half_minus_p <= 0.425 {
        let r = 0.425 * 0.425 - half_minus_p * half_minus_p;
        return half_minus_p * polynomial(&CENTRE.0, r) / polynomial(&CENTRE.1, r);
    }
    let r = libm::sqrt(-libm::log(p));
    if r <= 5.0 {
        polynomial(&TAIL.0, r - 1.6) / polynomial(&TAIL.1, r - 1.6)
    } else {
        polynomial(&FAR_TAIL.0, r - 5.0) / polynomial(&FAR_TAIL.1, r - 5.0)
    }
}

/// The polynomial with these coefficients, highest power first (Horner).
fn polynomial(coefficients: &[f64; 8], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// Numerator and denominator of a rational function, highest power first.
type Rational = ([f64; 8], [f64; 8]);

/// For |p − 1/2| ≤ 0.425, in 0.425² − (p − 1/2)².
const CENTRE: Rational = (
    [
        2_509.080_928_730_122_7,
        33_430.575_583_588_13,
        67_265.770_927_008_7,
        45_921.953_931_549_87,
        13_731.693_765_509_46,
        1_971.590_950_306_551_3,
        133.141_667_891_784_38,
        3.387_132_872_796_366_5,
    ],
    [
        5_226.495_278_852_854,
        28_729.085_735_721_943,
        39_307.895_800_092_71,
        21_213.794_301_586_597,
        5_394.196_021_424_751,
        687.187_007_492_057_9,
        42.313_330_701_600_91,
        1.0,
    ],
);

/// For √(−ln p) ≤ 5, in √(−ln p) − 1.6.
const TAIL: Rational = (
    [
        0.000_774_545_014_278_341_4,
        0.022_723_844_989_269_184,
        0.241_780_725_177_450_6,
        1.270_458_252_452_368_4,
        3.647_848_324_763_204_5,
        5.769_497_221_460_691,
        4.630_337_846_156_546,
        1.423_437_110_749_683_5,
    ],
    [
        1.050_750_071_644_416_9e-9,
        0.000_547_593_808_499_534_5,
        0.015_198_666_563_616_457,
        0.148_103_976_427_480_08,
        0.689_767_334_985_1,
        1.676_384_830_183_803_8,
        2.053_191_626_637_759,
        1.0,
    ],
);

/// For √(−ln p) > 5, in √(−ln p) − 5.
const FAR_TAIL: Rational = (
    [
        2.010_334_399_292_288_1e-7,
        2.711_555_568_743_487_6e-5,
        0.001_242_660_947_388_078_4,
        0.026_532_189_526_576_124,
        0.296_560_571_828_504_87,
        1.784_826_539_917_291_3,
        5.463_784_911_164_114,
        6.657_904_643_501_103,
    ],
    [
        2.044_263_103_389_939_7e-15,
        1.421_511_758_316_446e-7,
        1.846_318_317_510_054_8e-5,
        0.000_786_869_131_145_613_3,
        0.014_875_361_290_850_615,
        0.136_929_880_922_735_8,
        0.599_832_206_555_888,
        1.0,
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quantile_inverts_the_distribution_function() {
        for k in 0..4000 {
            // p from 1/2 down to 1e-200 through all three rational functions.
            let p = 0.5 * 10f64.powf(-f64::from(k) / 20.0);
            let z = normal_quantile_size(p, 0.5 - p);
            let back = 0.5 * libm::erfc(z * FRAC_1_SQRT_2);
            // A relative error e of z changes the tail by about z² e, and erfc
            // itself is good to a unit or so; 1e-15 is four units.
            let tolerance = 1e-15 * (1.0 + z * z);
            assert!(((back - p) / p).abs() <= tolerance, "p = {p:e}: {back:e}");
        }
    }

    #[test]
    fn the_quantile_agrees_with_published_values() {
        // Test values of Algorithm AS 241.
        for (p, z) in [
            (0.25, 0.674_489_750_196_081_7),
            (0.001, 3.090_232_306_167_813_5),
            (1e-20, 9.262_340_089_798_408),
        ] {
            let size = normal_quantile_size(p, 0.5 - p);
            assert!((size / z - 1.0).abs() < 1e-15, "{size}");
        }
    }

    #[test]
    fn a_narrow_interval_is_uniform() {
        // Density varies by a factor exp(-c²/2) only, below f32 precision.
        let law = TruncatedNormal::new(1e-20);
        for k in 1..1000 {
            let u = f64::from(k) / 1000.0;
            let expected = 1e-20 * (2.0 * u - 1.0);
            assert!((f64::from(law.quantile(u)) - expected).abs() <= 1e-26);
        }
    }

    #[test]
    fn the_quantile_is_odd_about_the_middle() {
        for limit in [0.1, 1.0, 2.0, 10.0, f32::INFINITY] {
            let law = TruncatedNormal::new(limit);
            assert_eq!(law.quantile(0.5), 0.0);
            for k in 1..512 {
                let u = f64::from(k) / 1024.0;
                assert_eq!(law.quantile(u), -law.quantile(1.0 - u));
            }
        }
    }
}

// What can be calculated again bit for bit: single precision, Philox, the normal
// transform, SHA-256.
//
// Single precision in double precision: for +, -, *, / and the square root of two
// numbers of 24 bits, rounding first to 53 bits and then to 24 gives what one rounding
// would, as 53 >= 2 * 24 + 2 (Figueroa 1995). The Rust code multiplies and adds
// separately here ("a fused mul_add would ..." in transform.rs), so no fused operation
// has to be imitated.
const f = Math.fround;
const add = (x, y) => f(x + y);
const mul = (x, y) => f(x * y);

const words = new DataView(new ArrayBuffer(4));
function bitsOf(x) {
  words.setFloat32(0, x);
  return words.getUint32(0);
}
function floatOf(bits) {
  words.setUint32(0, bits >>> 0);
  return words.getFloat32(0);
}
const hex = (word) => "0x" + (word >>> 0).toString(16).padStart(8, "0");

// The upper and the lower half of the product of two words, from pieces of 16 bits.
function wideProduct(x, y) {
  const [xh, xl, yh, yl] = [x >>> 16, x & 0xffff, y >>> 16, y & 0xffff];
  const low = xl * yl,
    mid = xh * yl + (low >>> 16),
    other = xl * yh + (mid % 65536);
  const high = xh * yh + Math.floor(mid / 65536) + Math.floor(other / 65536);
  return [high >>> 0, (((other & 0xffff) << 16) | (low & 0xffff)) >>> 0];
}

// Philox 4x32 (Salmon and others 2011) in seven rounds, those of the noise on weights.
const ROUNDS = 7;
function philox(counter, key) {
  let [c0, c1, c2, c3] = counter,
    [k0, k1] = key;
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = wideProduct(0xd2511f53, c0),
      [high1, low1] = wideProduct(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

// The key of a seed (a BigInt) and a purpose: SplitMix64 twice.
function mix(word) {
  let z = BigInt.asUintN(64, word + 0x9e3779b97f4a7c15n);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}
const PERTURBATION = 1n;
function keyOf(seed) {
  const key = mix(mix(BigInt.asUintN(64, seed)) ^ PERTURBATION);
  return [Number(key & 0xffffffffn), Number(key >> 32n)];
}

// Where element `index` of a stream lies: its block, and the place of its word there.
const placeOf = (index) => ({
  block: Math.floor(index / 64) * 16 + (index % 16),
  word: Math.floor((index % 64) / 16),
});
const counterOf = (block, layer, step) => [block >>> 0, Math.floor(block / 4294967296), layer, step];

// -2 ln u for u = |word| / 2^31: the polynomial of transform.rs, in its order.
const SQRT_HALF_BITS = 0x3f3504f3,
  ORIGIN = SQRT_HALF_BITS + (31 << 23);
function minusTwoLn(word) {
  const magnitude = Math.max(f(Math.abs(word | 0)), 0.25);
  const bits = (bitsOf(magnitude) - ORIGIN) | 0;
  const k = bits >> 23;
  const t = add(floatOf((bits & 0x007fffff) + SQRT_HALF_BITS), -1);
  const square = mul(t, t),
    fourth = mul(square, square);
  const pair = (x, y) => add(mul(f(x), t), f(y));
  const p01 = pair(9.9999976e-1, -2),
    p23 = pair(5.000415e-1, -6.6668373e-1);
  const p45 = pair(3.3124787e-1, -3.9913666e-1),
    p67 = pair(2.8733686e-1, -2.9904532e-1);
  const p8 = mul(f(-1.7444712e-1), square);
  const low = add(p01, mul(p23, square));
  const high = add(p45, mul(add(p67, p8), square));
  const p = add(low, mul(high, fourth));
  return add(mul(p, t), mul(k, f(-2 * f(Math.LN2))));
}

// Sine and cosine of an eighth of a turn times word / 2^31.
function sinCosOfEighth(word) {
  const t = mul(f(word | 0), 2 ** -31),
    square = mul(t, t),
    fourth = mul(square, square);
  const pair = (x, y) => add(f(x), mul(f(y), square));
  const s01 = pair(7.853982e-1, -8.0745436e-2),
    s23 = pair(2.490001e-3, -3.5950452e-5);
  const c01 = pair(0.99999994, -3.0842417e-1),
    c23 = pair(1.5849683e-2, -3.1872783e-4);
  return [mul(t, add(s01, mul(s23, fourth))), add(c01, mul(c23, fourth))];
}

// Two independent normal numbers of two words (Box and Muller 1958).
function boxMuller(radiusWord, angleWord) {
  const radius = f(Math.sqrt(minusTwoLn(radiusWord)));
  let [sin, cos] = sinCosOfEighth(angleWord & ~1);
  if (radiusWord >>> 31) cos = -cos;
  const [first, second] = angleWord & 1 ? [sin, cos] : [cos, sin];
  return [mul(radius, first), mul(radius, second)];
}

// Element `index` of the stream of a key, layer and step.
function draw(key, layer, step, index) {
  const { block, word } = placeOf(index);
  const counter = counterOf(block, layer, step),
    block4 = philox(counter, key);
  const pair = word < 2 ? [block4[0], block4[1]] : [block4[2], block4[3]];
  return { block, word, counter, words: block4, pair, z: boxMuller(...pair)[word % 2] };
}

// sqrt(v_i) as rows.rs has it, every operation rounded once.
function deviation(sigma, beta, factor, columns, weightSquared, gradientSquared) {
  const gradient = beta === 0 ? 0 : mul(f(beta), f(gradientSquared));
  const base = mul(f(sigma / Math.sqrt(columns)), f(Math.sqrt(add(f(weightSquared), gradient))));
  return mul(f(factor), base);
}

// SHA-256 (FIPS 180-4) of bytes.
const primes = [];
for (let n = 2; primes.length < 64; n++) if (primes.every((p) => n % p)) primes.push(n);
const fraction = (x) => Math.floor((x - Math.floor(x)) * 4294967296) >>> 0;
const START = primes.slice(0, 8).map((p) => fraction(Math.sqrt(p)));
const CUBES = primes.map((p) => fraction(Math.cbrt(p)));
const turn = (x, by) => (x >>> by) | (x << (32 - by));
function sha256(bytes) {
  const blocks = Math.ceil((bytes.length + 9) / 64),
    data = new Uint8Array(blocks * 64);
  data.set(bytes);
  data[bytes.length] = 0x80;
  const view = new DataView(data.buffer),
    w = new Int32Array(64),
    state = Int32Array.from(START);
  view.setUint32(data.length - 8, Math.floor(bytes.length / 0x20000000));
  view.setUint32(data.length - 4, (bytes.length << 3) >>> 0);
  for (let first = 0; first < data.length; first += 64) {
    for (let t = 0; t < 16; t++) w[t] = view.getInt32(first + 4 * t);
    for (let t = 16; t < 64; t++) {
      const x = w[t - 15],
        y = w[t - 2];
      const s0 = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3),
        s1 = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let [a, b, c, d, e, g, h, i] = state;
    for (let t = 0; t < 64; t++) {
      const sum1 = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25),
        choice = (e & g) ^ (~e & h);
      const t1 = (i + sum1 + choice + CUBES[t] + w[t]) | 0;
      const sum0 = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22),
        majority = (a & b) ^ (a & c) ^ (b & c);
      [i, h, g, e, d, c, b, a] = [h, g, e, (d + t1) | 0, c, b, a, (t1 + sum0 + majority) | 0];
    }
    [a, b, c, d, e, g, h, i].forEach((x, k) => {
      state[k] += x;
    });
  }
  return Array.from(state, (x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}
const digestOfText = (text) => sha256(new TextEncoder().encode(text));
function digestOfFloats(numbers) {
  const view = new DataView(new ArrayBuffer(4 * numbers.length));
  numbers.forEach((x, k) => view.setFloat32(4 * k, x, true));
  return sha256(new Uint8Array(view.buffer));
}

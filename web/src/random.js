/**
 * Noise by a seed, the same as torch's: `randn(shape, generator=torch.Generator().manual_seed(seed))` on a CPU.
 *
 * The Mersenne Twister of Matsumoto and Nishimura (1998), doi:10.1145/272991.272995, and Box and Muller's transform of
 * sixteen values at a time, eight of which are radii and eight angles.
 */

const SIZE = 624;
const MIDDLE = 397;

/** @param {number} seed whole, at least 0 */
function twister(seed) {
  const state = new Uint32Array(SIZE);
  state[0] = seed % 2 ** 32;
  for (let index = 1; index < SIZE; index++) {
    const before = state[index - 1] ^ (state[index - 1] >>> 30);
    state[index] = Math.imul(before, 1812433253) + index;
  }
  let place = SIZE;

  function refill() {
    for (let index = 0; index < SIZE; index++) {
      const joined = (state[index] & 0x80000000) | (state[(index + 1) % SIZE] & 0x7fffffff);
      state[index] = state[(index + MIDDLE) % SIZE] ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
    }
    place = 0;
  }

  return () => {
    if (place === SIZE) refill();
    let value = state[place++];
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c5680;
    value ^= (value << 15) & 0xefc60000;
    return (value ^ (value >>> 18)) >>> 0;
  };
}

/**
 * Draws from N(0, 1).
 * @param {number} count at least 16
 * @param {number} seed whole, at least 0
 */
export function normal(count, seed) {
  const next = twister(seed);
  const uniform = () => (next() & 0xffffff) / 2 ** 24;
  const values = Float32Array.from({ length: count }, uniform);
  for (let start = 0; start + 16 <= count; start += 16) transform(values, start);
  if (count % 16) {
    for (let index = count - 16; index < count; index++) values[index] = uniform();
    transform(values, count - 16);
  }
  return values;
}

/** @param {Float32Array} values @param {number} start of sixteen uniform ones, which become normal */
function transform(values, start) {
  for (let index = start; index < start + 8; index++) {
    const radius = Math.sqrt(-2 * Math.log(1 - values[index]));
    const angle = 2 * Math.PI * values[index + 8];
    values[index] = radius * Math.cos(angle);
    values[index + 8] = radius * Math.sin(angle);
  }
}

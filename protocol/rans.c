/* Interleaved rANS over integer tables. The format is docs/bitstream.md; rans_numpy.py writes and reads the same bytes.
 *
 * Nothing here allocates. The caller (rans_native.py) passes tables that tables.py has checked: in each row, cdf[0] = 0,
 * cdf[size] = 1 << 14 and every width is at least 1. Symbols and payloads are checked here.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ABI 2
#define PRECISION 14
#define TOTAL (1u << PRECISION)
#define SLOT_MASK (TOTAL - 1u)
#define LOW (1u << 16) /* lower bound, and the state at the start of encoding and the end of decoding */
#define MAX_LOG2_LANES 5
#define MAX_LANES (1 << MAX_LOG2_LANES)
#define LOOKUP_FROM 96 /* positions per channel from which a slot lookup pays for being filled */

enum { E_SYMBOL = -1, E_CAPACITY = -2, E_HEADER = -3, E_STATE = -4, E_SHORT = -5, E_LONG = -6, E_END = -7, E_LANES = -8 };

#if defined(__GNUC__)
#define EXPORT __attribute__((visibility("default")))
#else
#define EXPORT
#endif

EXPORT int32_t isthmus_rans_abi(void) { return ABI; }

static size_t header_bytes(unsigned lanes) { return (4u + lanes + 7u) / 8u; }

/* Bytes written to out, or a negative error. symbols: [channels, positions]; cdf: [tables, stride]; table: [channels],
 * the table of each channel, which the caller has checked, or NULL: channel c uses table c. */
EXPORT int64_t isthmus_rans_encode(const int32_t *symbols, uint64_t channels, uint64_t positions, const int32_t *table,
                                   const uint32_t *cdf, uint64_t stride, const int32_t *size, const int32_t *offset,
                                   uint32_t log2_lanes, uint8_t *out, uint64_t capacity) {
    if (log2_lanes > MAX_LOG2_LANES) return E_LANES;
    const unsigned lanes = 1u << log2_lanes, mask = lanes - 1u;
    const size_t head = header_bytes(lanes), most = head + 4u * lanes;
    if (capacity < most || (capacity - most) / 2u < channels * positions) return E_CAPACITY;

    uint32_t state[MAX_LANES];
    for (unsigned k = 0; k < lanes; k++) state[k] = LOW;
    uint8_t *word = out + capacity; /* words are stacked downwards, so that the decoder reads upwards */
    uint64_t i = channels * positions;
    for (uint64_t c = channels; c-- > 0;) {
        const uint64_t t = table ? (uint64_t)table[c] : c;
        const uint32_t *row = cdf + t * stride;
        const int64_t first = offset[t];
        const uint64_t count = (uint64_t)size[t];
        for (uint64_t p = positions; p-- > 0;) {
            const uint64_t s = (uint64_t)((int64_t)symbols[--i] - first);
            if (s >= count) return E_SYMBOL;
            const uint32_t start = row[s], width = row[s + 1] - start;
            uint32_t x = state[i & mask];
            if ((uint64_t)x >= (uint64_t)width << (32 - PRECISION)) {
                word -= 2;
                word[0] = (uint8_t)x;
                word[1] = (uint8_t)(x >> 8);
                x >>= 16;
            }
            const uint32_t quotient = x / width;
            state[i & mask] = (quotient << PRECISION) + (x - quotient * width) + start;
        }
    }

    memset(out, 0, head);
    out[0] = (uint8_t)log2_lanes;
    uint8_t *at = out + head;
    for (unsigned k = 0; k < lanes; k++) {
        const uint32_t x = state[k];
        *at++ = (uint8_t)x;
        *at++ = (uint8_t)(x >> 8);
        *at++ = (uint8_t)(x >> 16);
        if (x >> 24) {
            *at++ = (uint8_t)(x >> 24);
            out[(4u + k) / 8u] |= (uint8_t)(1u << ((4u + k) % 8u));
        }
    }
    const size_t words = (size_t)(out + capacity - word);
    memmove(at, word, words);
    return (int64_t)((size_t)(at - out) + words);
}

/* Index of the symbol whose interval holds slot, by halving. */
static uint32_t search(const uint32_t *row, uint32_t count, uint32_t slot) {
    uint32_t base = 0;
    while (count > 1) {
        const uint32_t half = count / 2;
        base += row[base + half] <= slot ? half : 0;
        count -= half;
    }
    return base;
}

static void fill(uint16_t *lookup, const uint32_t *row, uint32_t count) {
    for (uint32_t s = 0; s < count; s++)
        for (uint32_t slot = row[s]; slot < row[s + 1]; slot++) lookup[slot] = (uint16_t)s;
}

/* One symbol out of x; the caller renormalises. */
static inline uint32_t step(uint32_t *x, const uint32_t *row, const uint16_t *lookup, uint32_t count) {
    const uint32_t slot = *x & SLOT_MASK;
    const uint32_t s = lookup ? lookup[slot] : search(row, count, slot);
    *x = (row[s + 1] - row[s]) * (*x >> PRECISION) + slot - row[s];
    return s;
}

/* `group` symbols with lanes first, first + 1, ...; at least `group` words are left, so none is checked for. */
static inline const uint8_t *steps(uint32_t *state, unsigned group, const uint32_t *row, const uint16_t *lookup,
                                   uint32_t count, int32_t offset, const uint8_t *word, int32_t *symbols) {
    for (unsigned k = 0; k < group; k++) {
        uint32_t x = state[k];
        symbols[k] = offset + (int32_t)step(&x, row, lookup, count);
        const uint32_t renormalised = x << 16 | word[0] | (uint32_t)word[1] << 8;
        const int low = x < LOW;
        state[k] = low ? renormalised : x;
        word += low ? 2 : 0;
    }
    return word;
}

/* 0, or a negative error; symbols: [channels, positions] is written only within its bounds. */
EXPORT int64_t isthmus_rans_decode(const uint8_t *payload, uint64_t length, uint64_t channels, uint64_t positions,
                                   const int32_t *table, const uint32_t *cdf, uint64_t stride, const int32_t *size,
                                   const int32_t *offset, int32_t *symbols) {
    const uint8_t *const stop = payload + length;
    if (length < 1 || (payload[0] & 15u) > MAX_LOG2_LANES) return E_HEADER;
    const unsigned lanes = 1u << (payload[0] & 15u), mask = lanes - 1u;
    const size_t head = header_bytes(lanes);
    if (length < head) return E_HEADER;
    if (payload[head - 1] >> ((3u + lanes) % 8u) >> 1) return E_HEADER; /* bits past the last flag */

    uint32_t state[MAX_LANES];
    const uint8_t *word = payload + head;
    for (unsigned k = 0; k < lanes; k++) {
        const unsigned four = payload[(4u + k) / 8u] >> ((4u + k) % 8u) & 1u;
        if ((size_t)(stop - word) < 3u + four) return E_SHORT;
        state[k] = word[0] | (uint32_t)word[1] << 8 | (uint32_t)word[2] << 16 | (four ? (uint32_t)word[3] << 24 : 0u);
        if (state[k] < (four ? 1u << 24 : LOW)) return E_STATE;
        word += 3u + four;
    }
    if ((stop - word) % 2) return E_LONG;

    uint16_t filled[TOTAL];
    uint64_t i = 0;
    for (uint64_t c = 0; c < channels; c++) {
        const uint64_t t = table ? (uint64_t)table[c] : c;
        const uint32_t *row = cdf + t * stride;
        const uint32_t count = (uint32_t)size[t];
        const int32_t first = offset[t];
        const uint64_t end = i + positions;
        const uint16_t *lookup = NULL;
        if (positions >= LOOKUP_FROM) {
            fill(filled, row, count);
            lookup = filled;
        }
        while (i < end) {
            /* whole turns through the lanes, four at a time where there are so many */
            if (lanes >= 4 && (i & 3u) == 0)
                for (; end - i >= 4 && stop - word >= 8; i += 4)
                    word = steps(state + (i & mask), 4, row, lookup, count, first, word, symbols + i);
            if (lanes == 1)
                for (; i < end && stop - word >= 2; i++)
                    word = steps(state, 1, row, lookup, count, first, word, symbols + i);
            if (i == end) break;
            uint32_t x = state[i & mask];
            symbols[i] = first + (int32_t)step(&x, row, lookup, count);
            if (x < LOW) {
                if (stop - word < 2) return E_SHORT;
                x = x << 16 | word[0] | (uint32_t)word[1] << 8;
                word += 2;
            }
            state[i & mask] = x;
            i++;
        }
    }
    if (word != stop) return E_LONG;
    for (unsigned k = 0; k < lanes; k++)
        if (state[k] != LOW) return E_END;
    return 0;
}

/* Encodes, damages and decodes; run under sanitisers by tests/fuzz/coder.py: coder ROUNDS SEED. */
#include "rans.c"
#include <stdio.h>
#include <stdlib.h>

static uint32_t seed = 1;
static uint32_t next(void) { seed ^= seed << 13; seed ^= seed >> 17; return seed ^= seed << 5; }

int main(int arguments, char **given) {
    const long rounds = arguments > 1 ? strtol(given[1], NULL, 10) : 0;
    seed = arguments > 2 ? (uint32_t)strtoul(given[2], NULL, 10) | 1 : 1;
    enum { CHANNELS = 3, SYMBOLS = 9 };
    uint32_t cdf[CHANNELS][SYMBOLS + 1];
    int32_t size[CHANNELS] = {9, 4, 1}, offset[CHANNELS] = {-4, 1 << 30, -(1 << 30)};
    for (int c = 0; c < CHANNELS; c++)
        for (int s = 0; s <= SYMBOLS; s++) cdf[c][s] = s < size[c] ? (uint32_t)s * (s + 3) : TOTAL;
    for (long round = 0; round < rounds; round++) {
        const uint64_t positions = next() % 140, count = CHANNELS * positions, lanes = next() % 6;
        const uint64_t capacity = 5 + 128 + 2 * count;
        int32_t *symbols = malloc(count * sizeof *symbols + 1), *back = malloc(count * sizeof *back + 1);
        uint8_t *out = malloc(capacity);
        int32_t table[CHANNELS] = {0, 1, 2};
        if (round % 2) for (int c = 0; c < CHANNELS; c++) table[c] = (int32_t)(next() % CHANNELS);
        const int32_t *given = round % 2 ? table : NULL;
        for (uint64_t i = 0; i < count; i++) symbols[i] =
            offset[table[i / positions]] + (int32_t)(next() % (uint32_t)size[table[i / positions]]);
        int64_t length = isthmus_rans_encode(symbols, CHANNELS, positions, given, cdf[0], SYMBOLS + 1, size, offset,
                                             (uint32_t)lanes, out, capacity);
        if (length < 0) return 1;
        /* of its exact size, so that a read past the end is seen */
        uint64_t kept = round % 3 == 0 ? (uint64_t)length : next() % ((uint64_t)length + 1);
        uint8_t *payload = malloc(kept + (kept == 0));
        memcpy(payload, out, kept);
        for (uint32_t k = round % 3 ? next() % 4 : 0; k > 0 && kept > 0; k--) payload[next() % kept] ^= (uint8_t)next();
        int64_t status = isthmus_rans_decode(payload, kept, CHANNELS, positions, given, cdf[0], SYMBOLS + 1, size,
                                             offset, back);
        if (round % 3 == 0 && (status != 0 || memcmp(symbols, back, count * sizeof *back))) return 2;
        for (uint64_t i = 0; status == 0 && i < count; i++)
            if (back[i] < offset[table[i / positions]] ||
                back[i] >= offset[table[i / positions]] + size[table[i / positions]]) return 3;
        free(payload), free(out), free(back), free(symbols);
    }
    puts("clean");
    return 0;
}

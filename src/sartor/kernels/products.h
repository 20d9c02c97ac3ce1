/* Sums of products of bfloat16 matrices, in float32 inside. Included by kernels.c.

   A library compiles a program for each shape, and in nearly every pack there are other ones; these
   functions take any. A processor multiplies pairs of bfloat16 along the side that is summed: 16 rows
   of 32 at once by its tiles (Intel AMX), or 16 pairs by its vectors (AVX512-BF16). What is on the
   right is laid out for either in panels of 16 columns, where one row of pairs follows another; of what
   is on the left, blocks of rows are read where they lie, or laid out one after another. Goto and van
   de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication". */

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>

enum {
    TILE = 16, /* rows and columns of a tile */
    BLOCK = 2 * TILE,
    STEP = 32, /* numbers of the summed side that a tile has */
    ROWS = 8,  /* of a block, whose sums stay in vectors */
    MOST_PAIRS = 4,
    LAID = 1 << 18 /* numbers of what is on the right that are laid out at a time */
};

/* A matrix on the left (rows, inner), one on the right (inner, columns): how many numbers apart their
   rows and columns are, one of which is 1, and those of the next in a batch. */
typedef struct {
    const bfloat16 *left;
    int64_t left_row, left_column, left_next;
    const bfloat16 *right;
    int64_t right_row, right_column, right_next;
    int64_t inner;
    const int64_t *places; /* which of its rows, or columns where they are not 1 apart; or 0 */
} Pair;
_Static_assert(sizeof(Pair) == 80, "products.py tells as much");

/* A block of rows, `row` numbers apart, and panels, `panel` numbers apart, that it is multiplied with.
   The numbers of the last step lie in `last` where they are fewer than STEP. */
typedef struct {
    const bfloat16 *left, *last, *right;
    int64_t row, inner, steps, panel;
} Part;

static inline int64_t steps_of(int64_t numbers) { return (numbers + STEP - 1) / STEP; }

/* Which of 32 numbers are there. */
static inline __mmask32 there(int64_t numbers) {
    return numbers >= 32 ? 0xffffffffu : numbers <= 0 ? 0 : (1u << numbers) - 1;
}

/* 16 vectors of 16 numbers of 32 bits. */
static inline void transpose(__m512i *rows) {
    __m512i two[TILE], four[TILE];
    for (int i = 0; i < TILE; i += 2) {
        two[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        two[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < TILE; i += 4)
        for (int j = 0; j < 2; j++) {
            four[i + 2 * j] = _mm512_unpacklo_epi64(two[i + j], two[i + j + 2]);
            four[i + 2 * j + 1] = _mm512_unpackhi_epi64(two[i + j], two[i + j + 2]);
        }
    for (int j = 0; j < 4;
         j++) { /* 128 bits number l of four[4 i + j] are column 4 l + j of rows 4 i on */
        __m512i even = _mm512_shuffle_i32x4(four[j], four[4 + j], 0x88);
        __m512i odd = _mm512_shuffle_i32x4(four[j], four[4 + j], 0xdd);
        __m512i even_on = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0x88);
        __m512i odd_on = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0xdd);
        rows[j] = _mm512_shuffle_i32x4(even, even_on, 0x88);
        rows[4 + j] = _mm512_shuffle_i32x4(odd, odd_on, 0x88);
        rows[8 + j] = _mm512_shuffle_i32x4(even, even_on, 0xdd);
        rows[12 + j] = _mm512_shuffle_i32x4(odd, odd_on, 0xdd);
    }
}

static inline int64_t place_of(const int64_t *places, int64_t number) {
    return places ? places[number] : number;
}

/* 32 numbers of each of two rows, number `at` and the next, in turn; of a row from `end` on, zeros. */
static inline void in_turn(const bfloat16 *rows, int64_t apart, const int64_t *places, int64_t at,
                           int64_t end, __mmask32 which, __m512i *first, __m512i *next) {
    __m512i a = _mm512_setzero_si512(), b = a;
    if (at < end) a = _mm512_maskz_loadu_epi16(which, rows + place_of(places, at) * apart);
    if (at + 1 < end) b = _mm512_maskz_loadu_epi16(which, rows + place_of(places, at + 1) * apart);
    __m512i low = _mm512_unpacklo_epi16(a, b), high = _mm512_unpackhi_epi16(a, b); /* by 128 bits */
    *first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
    *next = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
}

/* Columns of what is on the right, from one on, as panels: an even number of them, zeros at the end. */
static void lay_right(const Pair *pair, const bfloat16 *right, int64_t columns, bfloat16 *laid) {
    int64_t depth = steps_of(pair->inner) * STEP, panel = depth * TILE;
    for (int64_t column = 0; column < columns; column += BLOCK, laid += 2 * panel) {
        if (pair->right_column == 1) {
            __mmask32 which = there(columns - column);
            for (int64_t k = 0; k < depth; k += 2) {
                __m512i first, next;
                in_turn(right + column, pair->right_row, pair->places, k, pair->inner, which, &first,
                        &next);
                _mm512_storeu_si512(laid + k * TILE, first);
                _mm512_storeu_si512(laid + panel + k * TILE, next);
            }
            continue;
        }
        for (int64_t half = 0; half < BLOCK; half += TILE)
            for (int64_t k = 0; k < depth; k += STEP) {
                __m512i rows[TILE];
                for (int i = 0; i < TILE; i++) {
                    int64_t at = column + half + i;
                    rows[i] = _mm512_setzero_si512();
                    if (at >= columns) continue;
                    const bfloat16 *from = right + place_of(pair->places, at) * pair->right_column + k;
                    rows[i] = _mm512_maskz_loadu_epi16(there(pair->inner - k), from);
                }
                transpose(rows);
                bfloat16 *to = laid + half / TILE * panel + k * TILE;
                for (int i = 0; i < TILE; i++) _mm512_storeu_si512(to + i * STEP, rows[i]);
            }
    }
}

/* A block of rows of what is on the left: where it lies if that will do, else laid out in `room`. */
static Part lay_left(const Pair *pair, const bfloat16 *left, int64_t rows, bfloat16 *room) {
    int64_t steps = steps_of(pair->inner), rest = pair->inner % STEP, whole = pair->inner - rest;
    Part part = {.left = room,
                 .row = steps * STEP,
                 .inner = pair->inner,
                 .steps = steps,
                 .panel = steps * STEP * TILE};
    if (pair->left_column == 1 && rows == BLOCK) {
        part.left = left, part.row = pair->left_row, part.last = rest ? room : 0;
        for (int64_t i = 0; rest && i < BLOCK; i++)
            _mm512_storeu_si512(room + i * STEP,
                                _mm512_maskz_loadu_epi16(there(rest), left + i * pair->left_row + whole));
    } else if (pair->left_column == 1) {
        for (int64_t i = 0; i < BLOCK; i++)
            for (int64_t k = 0; k < part.row; k += STEP)
                _mm512_storeu_si512(room + i * part.row + k,
                                    _mm512_maskz_loadu_epi16(i < rows ? there(pair->inner - k) : 0,
                                                             left + i * pair->left_row + k));
    } else { /* pairs of numbers, transposed */
        for (int64_t k = 0; k < part.row; k += STEP) {
            __m512i made[2][TILE];
            for (int i = 0; i < TILE; i++) {
                int64_t at = k + 2 * i;
                in_turn(left, pair->left_column, 0, at, pair->inner, there(rows), &made[0][i],
                        &made[1][i]);
            }
            for (int half = 0; half < 2; half++) {
                transpose(made[half]);
                for (int i = 0; i < TILE; i++)
                    _mm512_storeu_si512(room + (half * TILE + i) * part.row + k, made[half][i]);
            }
        }
    }
    return part;
}

/* Where the numbers of a step lie, and how far apart their rows are. */
static inline const bfloat16 *step_of(const Part *part, int64_t step, int64_t *row) {
    int in_last = part->last && step == part->steps - 1;
    *row = in_last ? STEP : part->row;
    return in_last ? part->last : part->left + step * STEP;
}

/* A block of sums of products, in float32, its rows so far apart; of one or two panels. */
static inline __attribute__((always_inline)) void by_vectors(const Part *parts, int64_t count,
                                                             int64_t rows, const int panels, float *block,
                                                             int64_t apart) {
    for (int64_t from = 0; from < rows; from += ROWS, block += ROWS * apart) {
        __m512 sums[ROWS][2];
        for (int i = 0; i < ROWS; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
        for (const Part *part = parts; part < parts + count; part++)
            for (int64_t step = 0, row; step < part->steps; step++) {
                const bfloat16 *left = step_of(part, step, &row) + from * row;
                const bfloat16 *right = part->right + step * STEP * TILE;
                int64_t most = part->inner - step * STEP;
                for (int k = 0; k < (most < STEP ? most : STEP); k += 2, left += 2, right += 2 * TILE) {
                    __m512bh one = (__m512bh)_mm512_loadu_si512(right), other = one;
                    if (panels > 1) other = (__m512bh)_mm512_loadu_si512(right + part->panel);
                    for (int i = 0; i < ROWS; i++) {
                        int32_t numbers;
                        memcpy(&numbers, left + i * row, sizeof numbers);
                        __m512bh two = (__m512bh)_mm512_set1_epi32(numbers);
                        sums[i][0] = _mm512_dpbf16_ps(sums[i][0], two, one);
                        if (panels > 1) sums[i][1] = _mm512_dpbf16_ps(sums[i][1], two, other);
                    }
                }
            }
        for (int i = 0; i < ROWS; i++) {
            _mm512_storeu_ps(block + i * apart, sums[i][0]);
            if (panels > 1) _mm512_storeu_ps(block + i * apart + TILE, sums[i][1]);
        }
    }
}

#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

static void by_tiles(const Part *parts, int64_t count, int64_t rows, int64_t columns, float *block,
                     int64_t apart) {
    int two_rows = rows > TILE, two_columns = columns > TILE;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (const Part *part = parts; part < parts + count; part++)
        for (int64_t step = 0, row; step < part->steps; step++) {
            const bfloat16 *left = step_of(part, step, &row), *right = part->right + step * STEP * TILE;
            _tile_loadd(4, left, row * 2);
            _tile_loadd(6, right, STEP * 2);
            _tile_dpbf16ps(0, 4, 6);
            if (two_columns) {
                _tile_loadd(7, right + part->panel, STEP * 2);
                _tile_dpbf16ps(1, 4, 7);
            }
            if (two_rows) {
                _tile_loadd(5, left + TILE * row, row * 2);
                _tile_dpbf16ps(2, 5, 6);
                if (two_columns) _tile_dpbf16ps(3, 5, 7);
            }
        }
    _tile_stored(0, block, apart * 4);
    _tile_stored(1, block + TILE, apart * 4);
    _tile_stored(2, block + TILE * apart, apart * 4);
    _tile_stored(3, block + TILE * apart + TILE, apart * 4);
}

/* Whether the system lets this process use tiles, which Linux is asked for once:
   arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
int64_t has_tiles(void) { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static void set_tiles(void) {
    struct {
        uint8_t palette, start, unused[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } told = {.palette = 1};
    for (int i = 0; i < 8; i++) told.bytes[i] = STEP * 2, told.rows[i] = TILE;
    _tile_loadconfig(&told);
}

static void unset_tiles(void) { _tile_release(); }
#else
int64_t has_tiles(void) { return 0; }
static void set_tiles(void) {}
static void unset_tiles(void) {}
#endif

static inline void multiply(int64_t tiles, const Part *parts, int64_t count, int64_t rows,
                            int64_t columns, float *block, int64_t apart) {
#if defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
    if (tiles) {
        by_tiles(parts, count, rows, columns, block, apart);
        return;
    }
#endif
    (void)tiles;
    if (columns > TILE)
        by_vectors(parts, count, rows, 2, block, apart);
    else
        by_vectors(parts, count, rows, 1, block, apart);
}

/* A block of sums, rows of BLOCK, written or added to where it belongs. */
static void hand_over(const float *block, int64_t rows, int64_t columns, void *made, int64_t at,
                      int64_t row, int64_t in_float32, int64_t add) {
    for (int64_t i = 0; i < rows; i++, block += BLOCK, at += row)
        for (int64_t j = 0; j < columns; j += TILE) {
            __mmask16 which = (__mmask16)there(columns - j < TILE ? columns - j : TILE);
            __m512 sum = _mm512_loadu_ps(block + j);
            if (in_float32) {
                float *to = (float *)made + at + j;
                if (add) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(which, to));
                _mm512_mask_storeu_ps(to, which, sum);
            } else {
                bfloat16 *to = (bfloat16 *)made + at + j;
                __m512i before = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(add ? which : 0, to));
                if (add) sum = _mm512_add_ps(sum, (__m512)_mm512_slli_epi32(before, 16));
                _mm256_mask_storeu_epi16(to, which, (__m256i)_mm512_cvtneps_pbh(sum));
            }
        }
}

/* What is summed: so many pairs, all of as many rows and columns; and where it goes, (batch, rows,
   columns) in bfloat16 or float32, written or added to what is there. */
typedef struct {
    const Pair *pairs;
    int64_t count, batch, rows, columns;
    void *made;
    int64_t made_row, made_next, in_float32, add, tiles;
} Sum;
_Static_assert(sizeof(Sum) == 88, "products.py tells as much");

/* Numbers of the summed side that all pairs have, in whole steps. */
static int64_t depth_of(const Sum *sum) {
    int64_t depth = 0;
    for (int64_t i = 0; i < sum->count; i++) depth += steps_of(sum->pairs[i].inner) * STEP;
    return depth;
}

/* How many columns are laid out at a time. */
static int64_t columns_at_once(const Sum *sum) {
    int64_t blocks = (sum->columns + BLOCK - 1) / BLOCK, most = LAID / (depth_of(sum) * BLOCK);
    return (most < 1 ? 1 : most < blocks ? most : blocks) * BLOCK;
}

/* How many numbers of bfloat16 `room` must have space for. */
int64_t products_room(const Sum *sum) { return depth_of(sum) * (BLOCK + columns_at_once(sum)); }

/* One of the batch, columns `from` to `end`. */
static void sum_columns(const Sum *sum, int64_t number, int64_t from, int64_t end, bfloat16 *room) {
    float block[BLOCK * BLOCK] __attribute__((aligned(64)));
    const bfloat16 *laid[MOST_PAIRS];
    Part parts[MOST_PAIRS];
    bfloat16 *free = room + depth_of(sum) * BLOCK;
    for (int64_t i = 0; i < sum->count; i++) {
        const Pair *pair = sum->pairs + i;
        laid[i] = free;
        lay_right(pair, pair->right + number * pair->right_next + from * pair->right_column, end - from,
                  free);
        free += steps_of(pair->inner) * STEP * ((end - from + BLOCK - 1) / BLOCK * BLOCK);
    }
    for (int64_t row = 0; row < sum->rows; row += BLOCK) {
        int64_t rows = sum->rows - row < BLOCK ? sum->rows - row : BLOCK;
        free = room;
        for (int64_t i = 0; i < sum->count; i++) {
            const Pair *pair = sum->pairs + i;
            const bfloat16 *left = pair->left + number * pair->left_next + row * pair->left_row;
            parts[i] = lay_left(pair, left, rows, free);
            free += parts[i].steps * STEP * BLOCK;
        }
        for (int64_t column = from; column < end; column += BLOCK) {
            int64_t columns = end - column < BLOCK ? end - column : BLOCK;
            for (int64_t i = 0; i < sum->count; i++)
                parts[i].right = laid[i] + (column - from) / TILE * parts[i].panel;
            multiply(sum->tiles, parts, sum->count, rows, columns, block, BLOCK);
            hand_over(block, rows, columns, sum->made,
                      number * sum->made_next + row * sum->made_row + column, sum->made_row,
                      sum->in_float32, sum->add);
        }
    }
}

void products(const Sum *sum, bfloat16 *room) {
    int64_t some = columns_at_once(sum);
    if (sum->tiles) set_tiles();
    for (int64_t number = 0; number < sum->batch; number++)
        for (int64_t from = 0; from < sum->columns; from += some)
            sum_columns(sum, number, from, sum->columns - from < some ? sum->columns : from + some, room);
    if (sum->tiles) unset_tiles();
}
#endif

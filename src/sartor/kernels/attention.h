/* Causal attention of a whole pack, forward and backward, by the products of products.h. Included by
   kernels.c.

   Block after block of queries, 32 of them at a time: what they give their keys is made, used and
   dropped while it is in the cache. For the way back only the logarithm of each query's sum is kept
   (Dao 2023, arXiv:2307.08691, section 3.1). What is summed is summed in float32. */

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)

/* Neighbouring queries, from row `row` of q on, and from where on in `places` the keys are that they may
   see: the first of them sees `before` and one more, the next yet another one, and so on. */
typedef struct {
    int64_t row, count, places, before;
} Block;

/* q, k and v as laid_out makes them, whose kinds are so many numbers apart: (kinds, rows, groups, width),
   (kinds, tokens, width), (kinds, tokens, deep). */
typedef struct {
    const bfloat16 *q, *k, *v;
    int64_t q_next, k_next, v_next, kinds, groups, width, deep, window, rows;
    const Block *blocks;
    int64_t count;
    const int64_t *places;
    int64_t tiles;
} Attention;
_Static_assert(sizeof(Attention) == 128, "attention.py tells as much");
_Static_assert(STEP == BLOCK, "what is padded to whole steps has whole blocks of rows");

static inline int64_t keys_of(const Block *block) { return block->before + block->count; }

static inline int64_t whole(int64_t numbers) { return steps_of(numbers) * STEP; }

/* What one kind has of a block: rows of q and of the gradient of what came of them, zeros behind them,
   and its keys and values laid out as columns and as rows. */
typedef struct {
    int64_t rows, high, keys, wide, deep; /* rows of queries, and the others in whole steps */
    int64_t from;                         /* the first step of keys that any of its queries sees */
    bfloat16 *asking, *given, *keys_across, *keys_down, *values_across, *values_down, *free;
} Laid;

/* A block's queries next to one another. */
static bfloat16 *gathered(const bfloat16 *from, int64_t rows, int64_t high, int64_t width, bfloat16 *to) {
    int64_t across = whole(width);
    memset(to, 0, high * across * sizeof *to);
    for (int64_t i = 0; i < rows; i++) memcpy(to + i * across, from + i * width, width * sizeof *to);
    return to + high * across;
}

static bfloat16 *columns_of(const bfloat16 *rows, const int64_t *places, int64_t count, int64_t width,
                            bfloat16 *to) {
    Pair pair = {.right_row = 1, .right_column = width, .inner = width, .places = places};
    lay_right(&pair, rows, count, to);
    return to + whole(count) * whole(width);
}

static bfloat16 *rows_of(const bfloat16 *rows, const int64_t *places, int64_t count, int64_t width,
                         int64_t apart, bfloat16 *to) {
    Pair pair = {.right_row = apart, .right_column = 1, .inner = count, .places = places};
    lay_right(&pair, rows, width, to);
    return to + whole(count) * whole(width);
}

/* Which of a block's keys a row sees: from *first to the end that is returned. */
static inline int64_t seen_by(const Attention *all, const Block *block, int64_t row, int64_t *first) {
    int64_t end = block->before + row / all->groups + 1;
    *first = all->window && end > all->window ? end - all->window : 0;
    return end;
}

static Laid lay_block(const Attention *all, const Block *block, int64_t kind, const bfloat16 *d_out,
                      int64_t d_out_next, bfloat16 *room) {
    const int64_t *places = all->places + block->places;
    const bfloat16 *k = all->k + kind * all->k_next, *v = all->v + kind * all->v_next;
    int64_t rows = block->count * all->groups, first = block->row * all->groups;
    Laid laid = {.rows = rows,
                 .high = whole(rows),
                 .keys = whole(keys_of(block)),
                 .wide = whole(all->width),
                 .deep = whole(all->deep),
                 .asking = room};
    seen_by(all, block, 0, &laid.from);
    laid.from = laid.from / STEP * STEP;
    room = gathered(all->q + kind * all->q_next + first * all->width, rows, laid.high, all->width, room);
    laid.keys_across = room;
    room = columns_of(k, places, keys_of(block), all->width, room);
    if (d_out) {
        laid.given = room;
        room = gathered(d_out + kind * d_out_next + first * all->deep, rows, laid.high, all->deep, room);
        laid.keys_down = room;
        room = rows_of(k, places, keys_of(block), all->width, all->width, room);
        laid.values_across = room;
        room = columns_of(v, places, keys_of(block), all->deep, room);
    } else {
        laid.values_down = room;
        room = rows_of(v, places, keys_of(block), all->deep, all->deep, room);
    }
    laid.free = room;
    return laid;
}

/* How many numbers of bfloat16 `room` must have space for: rows, and keys and values, laid out in up to
   two ways each; what rows give their keys, and how that changes; two blocks of scores in float32; and
   rows of one block turned. */
int64_t attention_room(const Attention *all) {
    int64_t most = 0, both = whole(all->width) + whole(all->deep);
    for (int64_t i = 0; i < all->count; i++) {
        int64_t high = whole(all->blocks[i].count * all->groups), keys = whole(keys_of(all->blocks + i));
        int64_t numbers = 2 * (high + keys) * both + 2 * high * keys + 4 * BLOCK * keys + BLOCK * high;
        most = numbers > most ? numbers : most;
    }
    return most;
}

/* Products of 32 rows that follow one another with columns `from` to `until`. */
static void scored(const bfloat16 *rows, const bfloat16 *laid, int64_t across, int64_t from,
                   int64_t until, int64_t tiles, float *scores, int64_t keys) {
    Part part = {
        .left = rows, .row = across, .inner = across, .steps = across / STEP, .panel = across * TILE};
    for (int64_t key = from; key < until; key += BLOCK) {
        part.right = laid + key / TILE * part.panel;
        multiply(tiles, &part, 1, BLOCK, BLOCK, scores + key, keys);
    }
}

/* Rows of so many numbers for a block's keys, up to one of them, which weigh what is laid out as rows. */
static Part weighing(const bfloat16 *numbers, const Laid *laid, int64_t until, const bfloat16 *down) {
    return (Part){.left = numbers + laid->from,
                  .row = laid->keys,
                  .inner = until - laid->from,
                  .steps = (until - laid->from) / STEP,
                  .panel = laid->keys * TILE,
                  .right = down + laid->from * TILE};
}

/* Products of some rows with all columns, whose rows go to those places of `made`. */
static void placed(Part part, int64_t rows, int64_t columns, int64_t tiles, void *made, const int64_t *at,
                   int64_t in_float32, int64_t add) {
    float block[BLOCK * BLOCK] __attribute__((aligned(64)));
    for (int64_t column = 0; column < columns; column += BLOCK, part.right += 2 * part.panel) {
        int64_t some = columns - column < BLOCK ? columns - column : BLOCK;
        multiply(tiles, &part, 1, rows, some, block, BLOCK);
        for (int64_t i = 0; i < rows; i++)
            hand_over(block + i * BLOCK, 1, some, made, at[i] + column, 0, in_float32, add);
    }
}

/* One row's scores made chances: e to their power without `normal`, the logarithm of the sum. */
static void chances_of(const float *restrict scores, float normal, bfloat16 *restrict chances,
                       int64_t from, int64_t first, int64_t end, int64_t until) {
    for (int64_t i = from; i < first; i++) chances[i] = 0;
    for (int64_t i = first; i < end; i++) chances[i] = narrow(exponential_short(scores[i] - normal));
    for (int64_t i = end; i < until; i++) chances[i] = 0;
}

/* The logarithm of the sum of e to the power of scores. */
static float normal_of(const float *scores, int64_t first, int64_t end) {
    float most = largest_float32(scores + first, end - first), sum = 0;
    SUMS(sum)
    for (int64_t i = first; i < end; i++) sum += exponential_short(scores[i] - most);
    return most + logf(sum);
}

/* The gradient of one row's scores, of that of its chances. */
static void changes_of(const float *restrict d_chances, const bfloat16 *restrict chances,
                       bfloat16 *restrict changes, int64_t from, int64_t first, int64_t end,
                       int64_t until) {
    float along = 0;
    SUMS(along)
    for (int64_t i = first; i < end; i++) along += wide(chances[i]) * d_chances[i];
    for (int64_t i = from; i < first; i++) changes[i] = 0;
    for (int64_t i = first; i < end; i++) changes[i] = narrow((d_chances[i] - along) * wide(chances[i]));
    for (int64_t i = end; i < until; i++) changes[i] = 0;
}

static void attend(const Attention *all, const Block *block, int64_t kind, bfloat16 *out, float *normal,
                   bfloat16 *room) {
    Laid laid = lay_block(all, block, kind, 0, 0, room);
    bfloat16 *chances = laid.free;
    float *scores = (float *)(chances + BLOCK * laid.keys);
    int64_t first, at[BLOCK], heads = all->kinds * all->groups;
    for (int64_t row = 0; row < laid.rows; row += BLOCK) {
        int64_t some = laid.rows - row < BLOCK ? laid.rows - row : BLOCK;
        int64_t until = whole(seen_by(all, block, row + some - 1, &first));
        scored(laid.asking + row * laid.wide, laid.keys_across, laid.wide, laid.from, until, all->tiles,
               scores, laid.keys);
        for (int64_t i = 0; i < some; i++) {
            int64_t end = seen_by(all, block, row + i, &first),
                    query = block->row + (row + i) / all->groups;
            const float *own = scores + i * laid.keys;
            normal[row + i] = normal_of(own, first, end);
            chances_of(own, normal[row + i], chances + i * laid.keys, laid.from, first, end, until);
            at[i] = (query * heads + kind * all->groups + (row + i) % all->groups) * all->deep;
        }
        Part part = weighing(chances, &laid, until, laid.values_down);
        placed(part, some, all->deep, all->tiles, out, at, 0, 0);
    }
}

/* out (rows, kinds, groups, deep), and the logarithm of each query's sum, (kinds, rows, groups). */
void attended(const Attention *all, bfloat16 *out, float *normal, bfloat16 *room) {
    if (all->tiles) set_tiles();
    for (int64_t kind = 0; kind < all->kinds; kind++)
        for (const Block *block = all->blocks; block < all->blocks + all->count; block++)
            attend(all, block, kind, out, normal + (kind * all->rows + block->row) * all->groups, room);
    if (all->tiles) unset_tiles();
}

/* Sums over queries: what each key, or value, is changed by. `numbers` (queries, keys) times `rows`. */
static void keys_back(const Attention *all, const Block *block, const Laid *laid, const bfloat16 *numbers,
                      const bfloat16 *rows, int64_t width, float *made, bfloat16 *room) {
    const int64_t *places = all->places + block->places;
    int64_t keys = keys_of(block), begin = 0, first, at[BLOCK];
    for (int64_t key = laid->from; key < keys; key += BLOCK) {
        int64_t some = keys - key < BLOCK ? keys - key : BLOCK;
        while (begin + BLOCK < laid->rows && whole(seen_by(all, block, begin + BLOCK - 1, &first)) <= key)
            begin += BLOCK; /* these queries do not see the key */
        Pair turned = {.left_row = 1, .left_column = laid->keys, .inner = laid->rows - begin};
        Part part = lay_left(&turned, numbers + begin * laid->keys + key, BLOCK, room);
        part.panel = laid->high * TILE, part.right = rows + begin * TILE;
        for (int64_t i = 0; i < some; i++) at[i] = places[key + i] * width;
        placed(part, some, width, all->tiles, made, at, 1, 1);
    }
}

static void attend_back(const Attention *all, const Block *block, int64_t kind, const bfloat16 *d_out,
                        int64_t d_out_next, const float *normal, float *d_q, float *d_k, float *d_v,
                        bfloat16 *room) {
    Laid laid = lay_block(all, block, kind, d_out, d_out_next, room);
    bfloat16 *chances = laid.free, *changes = chances + laid.high * laid.keys;
    bfloat16 *free = changes + laid.high * laid.keys;
    float *scores = (float *)free, *d_chances = scores + BLOCK * laid.keys;
    int64_t first, at[BLOCK];
    for (int64_t row = 0; row < laid.rows; row += BLOCK) {
        int64_t some = laid.rows - row < BLOCK ? laid.rows - row : BLOCK;
        int64_t until = whole(seen_by(all, block, row + some - 1, &first));
        scored(laid.asking + row * laid.wide, laid.keys_across, laid.wide, laid.from, until, all->tiles,
               scores, laid.keys);
        scored(laid.given + row * laid.deep, laid.values_across, laid.deep, laid.from, until, all->tiles,
               d_chances, laid.keys);
        for (int64_t i = 0; i < some; i++) {
            int64_t end = seen_by(all, block, row + i, &first), own = (row + i) * laid.keys;
            chances_of(scores + i * laid.keys, normal[row + i], chances + own, laid.from, first, end,
                       until);
            changes_of(d_chances + i * laid.keys, chances + own, changes + own, laid.from, first, end,
                       until);
            at[i] = (block->row * all->groups + row + i) * all->width;
        }
        Part part = weighing(changes + row * laid.keys, &laid, until, laid.keys_down);
        placed(part, some, all->width, all->tiles, d_q, at, 1, 0);
    }
    bfloat16 *rows = free + BLOCK * laid.high;
    rows_of(laid.given, 0, laid.rows, all->deep, laid.deep, rows);
    keys_back(all, block, &laid, chances, rows, all->deep, d_v, free);
    rows_of(laid.asking, 0, laid.rows, all->width, laid.wide, rows);
    keys_back(all, block, &laid, changes, rows, all->width, d_k, free);
}

/* Gradients of q, k and v, laid out as they are but in float32: d_q is written, what concerns d_k and d_v
   is added to them; of d_out, laid out like q but `deep` wide. */
void attended_back(const Attention *all, const bfloat16 *d_out, int64_t d_out_next, const float *normal,
                   float *d_q, float *d_k, float *d_v, bfloat16 *room) {
    if (all->tiles) set_tiles();
    for (int64_t kind = 0; kind < all->kinds; kind++)
        for (const Block *block = all->blocks; block < all->blocks + all->count; block++)
            attend_back(all, block, kind, d_out, d_out_next,
                        normal + (kind * all->rows + block->row) * all->groups, d_q + kind * all->q_next,
                        d_k + kind * all->k_next, d_v + kind * all->v_next, room);
    if (all->tiles) unset_tiles();
}
#endif

/* Included by kernels.c once for each kind of NUMBER. */

/* y = x / sqrt(mean(x^2) + epsilon) * weight of (rows, width); scale (rows) is one by that root. The
   normed number is rounded before it is multiplied, as Llama does. Zhang and Sennrich 2019,
   arXiv:1910.07467. */
void NAMED(norm)(const NUMBER *restrict x, const NUMBER *restrict weight, float epsilon,
                 NUMBER *restrict y, float *restrict scale, int64_t rows, int64_t width) {
    for (int64_t row = 0; row < rows; row++, x += width, y += width) {
        float squares = 0;
        SUMS(squares)
        for (int64_t i = 0; i < width; i++) squares += WIDE(x[i]) * WIDE(x[i]);
        float by = 1.0f / sqrtf(squares / (float)width + epsilon);
        scale[row] = by;
        for (int64_t i = 0; i < width; i++)
            y[i] = NARROW(WIDE(NARROW(WIDE(x[i]) * by)) * WIDE(weight[i]));
    }
}

/* The gradient of x, of that of y. */
void NAMED(norm_back)(const NUMBER *restrict x, const NUMBER *restrict weight,
                      const float *restrict scale, const NUMBER *restrict dy, NUMBER *restrict dx,
                      int64_t rows, int64_t width) {
    for (int64_t row = 0; row < rows; row++, x += width, dy += width, dx += width) {
        float by = scale[row], along = 0;
        SUMS(along)
        for (int64_t i = 0; i < width; i++) along += WIDE(dy[i]) * WIDE(weight[i]) * (WIDE(x[i]) * by);
        along /= (float)width;
        for (int64_t i = 0; i < width; i++)
            dx[i] = NARROW((WIDE(dy[i]) * WIDE(weight[i]) - WIDE(x[i]) * by * along) * by);
    }
}

/* y = silu(gate) * up, all of so many numbers. Shazeer 2020, arXiv:2002.05202. */
void NAMED(gated)(const NUMBER *restrict gate, const NUMBER *restrict up, NUMBER *restrict y,
                  int64_t numbers) {
    for (int64_t i = 0; i < numbers; i++) {
        float g = WIDE(gate[i]);
        y[i] = NARROW(g / (1.0f + EXPONENTIAL(-g)) * WIDE(up[i]));
    }
}

/* The gradients of gate and up, of that of y: the one of gate is written over it. */
void NAMED(gated_back)(const NUMBER *restrict gate, const NUMBER *restrict up, NUMBER *restrict dy,
                       NUMBER *restrict d_up, int64_t numbers) {
    for (int64_t i = 0; i < numbers; i++) {
        float g = WIDE(gate[i]), given = WIDE(dy[i]);
        float chance = 1.0f / (1.0f + EXPONENTIAL(-g));
        d_up[i] = NARROW(given * g * chance);
        dy[i] = NARROW(given * WIDE(up[i]) * chance * (1.0f + g * (1.0f - chance)));
    }
}

/* x (tokens, kinds, groups, width) times scale, turned by its positions (Su et al. 2021,
   arXiv:2104.09864) where there are cosines and sines (tokens, width), laid out as (kinds, tokens and
   one of zeros, groups, width). */
void NAMED(laid_out)(const NUMBER *restrict x, const NUMBER *restrict cosines,
                     const NUMBER *restrict sines, float scale, NUMBER *restrict laid,
                     int64_t tokens, int64_t kinds, int64_t groups, int64_t width) {
    int64_t half = width / 2, row = groups * width, kind = (tokens + 1) * row;
    for (int64_t token = 0; token < tokens; token++)
        for (int64_t head = 0; head < kinds * groups; head++, x += width) {
            NUMBER *to = laid + head / groups * kind + token * row + head % groups * width;
            if (!cosines) {
                for (int64_t i = 0; i < width; i++) to[i] = NARROW(WIDE(x[i]) * scale);
                continue;
            }
            const NUMBER *c = cosines + token * width, *s = sines + token * width;
            for (int64_t i = 0; i < half; i++) {
                float a = WIDE(x[i]), b = WIDE(x[i + half]);
                to[i] = NARROW((a * WIDE(c[i]) - b * WIDE(s[i])) * scale);
                to[i + half] = NARROW((b * WIDE(c[i + half]) + a * WIDE(s[i + half])) * scale);
            }
        }
    for (int64_t k = 0; k < kinds; k++) memset(laid + k * kind + tokens * row, 0, row * sizeof(NUMBER));
}

/* The gradient of x, of that of what was laid out, in float32. */
void NAMED(laid_back)(const float *restrict laid, const NUMBER *restrict cosines,
                      const NUMBER *restrict sines, float scale, NUMBER *restrict dx,
                      int64_t tokens, int64_t kinds, int64_t groups, int64_t width) {
    int64_t half = width / 2, row = groups * width, kind = (tokens + 1) * row;
    for (int64_t token = 0; token < tokens; token++)
        for (int64_t head = 0; head < kinds * groups; head++, dx += width) {
            const float *y = laid + head / groups * kind + token * row + head % groups * width;
            if (!cosines) {
                for (int64_t i = 0; i < width; i++) dx[i] = NARROW(y[i] * scale);
                continue;
            }
            const NUMBER *c = cosines + token * width, *s = sines + token * width;
            for (int64_t i = 0; i < half; i++) {
                float a = y[i], b = y[i + half];
                dx[i] = NARROW((a * WIDE(c[i]) + b * WIDE(s[i + half])) * scale);
                dx[i + half] = NARROW((b * WIDE(c[i + half]) - a * WIDE(s[i])) * scale);
            }
        }
}

/* The largest of so many numbers. Kept in LANES of their own, or compilers that know of no-numbers
   would look at one after another. */
static inline float NAMED(largest)(const NUMBER *numbers, int64_t count) {
    float most[LANES];
    for (int i = 0; i < LANES; i++) most[i] = -INFINITY;
    int64_t at = 0;
    for (; at + LANES <= count; at += LANES)
        for (int i = 0; i < LANES; i++)
            most[i] = WIDE(numbers[at + i]) > most[i] ? WIDE(numbers[at + i]) : most[i];
    for (; at < count; at++) most[0] = WIDE(numbers[at]) > most[0] ? WIDE(numbers[at]) : most[0];
    for (int i = 1; i < LANES; i++) most[0] = most[i] > most[0] ? most[i] : most[0];
    return most[0];
}

/* Scores (kinds, blocks, queries, groups, keys) made chances, in place. Query number i of a block sees
   its keys up to start + i, the last `window` of them (all, where that is 0), and none of the first
   unseen[block] ones; the chance of any other is 0. `room` has space for the keys of one query. */
void NAMED(chances)(NUMBER *scores, float *restrict room, const int64_t *restrict unseen,
                    int64_t kinds, int64_t blocks, int64_t queries, int64_t groups, int64_t keys,
                    int64_t start, int64_t window) {
    for (int64_t block = 0; block < kinds * blocks; block++)
        for (int64_t query = 0; query < queries * groups; query++, scores += keys) {
            int64_t end = start + query / groups + 1, first = unseen[block % blocks];
            if (window && end - window > first) first = end - window;
            float most = NAMED(largest)(scores + first, end - first), sum = 0;
            SUMS(sum)
            for (int64_t i = first; i < end; i++) {
                room[i] = EXPONENTIAL(WIDE(scores[i]) - most);
                sum += room[i];
            }
            float by = 1.0f / sum;
            for (int64_t i = 0; i < first; i++) scores[i] = NARROW(0.0f);
            for (int64_t i = first; i < end; i++) scores[i] = NARROW(room[i] * by);
            for (int64_t i = end; i < keys; i++) scores[i] = NARROW(0.0f);
        }
}

/* The gradient of scores written over that of their chances. */
void NAMED(chances_back)(NUMBER *restrict given, const NUMBER *restrict chances,
                         const int64_t *restrict unseen, int64_t kinds, int64_t blocks,
                         int64_t queries, int64_t groups, int64_t keys, int64_t start,
                         int64_t window) {
    for (int64_t block = 0; block < kinds * blocks; block++)
        for (int64_t query = 0; query < queries * groups; query++, given += keys, chances += keys) {
            int64_t end = start + query / groups + 1, first = unseen[block % blocks];
            if (window && end - window > first) first = end - window;
            float along = 0;
            SUMS(along)
            for (int64_t i = first; i < end; i++) along += WIDE(given[i]) * WIDE(chances[i]);
            for (int64_t i = 0; i < first; i++) given[i] = NARROW(0.0f);
            for (int64_t i = first; i < end; i++)
                given[i] = NARROW((WIDE(given[i]) - along) * WIDE(chances[i]));
            for (int64_t i = end; i < keys; i++) given[i] = NARROW(0.0f);
        }
}

/* The newest token of every answer given what it sees: q (answers, kinds, groups, width) times keys
   (answers, kinds, places, width), made chances, which weigh values (answers, kinds, places, deep). An
   answer sees its places from first[answer] to `used`; and what it shares with others, whose scores
   `shared` (answers, kinds, groups, before) become chances too. `room` has space for the scores of one. */
void NAMED(written)(const NUMBER *restrict q, const NUMBER *restrict keys, const NUMBER *restrict values,
                    NUMBER *restrict shared, const int64_t *restrict firsts, float *restrict room,
                    NUMBER *restrict out, int64_t answers, int64_t kinds, int64_t groups, int64_t width,
                    int64_t deep, int64_t places, int64_t used, int64_t before) {
    float *own = room + before, *sums = own + used;
    for (int64_t one = 0; one < answers * kinds; one++, keys += places * width, values += places * deep)
        for (int64_t group = 0; group < groups; group++, q += width, shared += before, out += deep) {
            int64_t first = firsts[one / kinds];
            float most = -INFINITY, sum = 0;
            for (int64_t j = 0; j < before; j++) room[j] = WIDE(shared[j]);
            for (int64_t j = 0; j < width; j++) sums[j] = WIDE(q[j]);
            int64_t i = first;
            for (; i + 4 <= used; i += 4) {
                const NUMBER *key = keys + i * width;
                float a = 0, b = 0, c = 0, d = 0;
                PRAGMA(omp simd reduction(+ : a, b, c, d))
                for (int64_t j = 0; j < width; j++) {
                    a += sums[j] * WIDE(key[j]), b += sums[j] * WIDE(key[width + j]);
                    c += sums[j] * WIDE(key[2 * width + j]), d += sums[j] * WIDE(key[3 * width + j]);
                }
                own[i] = a, own[i + 1] = b, own[i + 2] = c, own[i + 3] = d;
            }
            for (; i < used; i++) {
                float score = 0;
                SUMS(score)
                for (int64_t j = 0; j < width; j++) score += sums[j] * WIDE(keys[i * width + j]);
                own[i] = score;
            }
            for (int64_t j = 0; j < before; j++) most = room[j] > most ? room[j] : most;
            for (int64_t j = first; j < used; j++) most = own[j] > most ? own[j] : most;
            SUMS(sum)
            for (int64_t j = 0; j < before; j++) sum += room[j] = EXPONENTIAL(room[j] - most);
            SUMS(sum)
            for (int64_t j = first; j < used; j++) sum += own[j] = EXPONENTIAL(own[j] - most);
            float by = 1.0f / sum;
            for (int64_t j = 0; j < before; j++) shared[j] = NARROW(room[j] * by);
            for (int64_t j = 0; j < deep; j++) sums[j] = 0;
            for (i = first; i + 4 <= used; i += 4) {
                const NUMBER *value = values + i * deep;
                float a = own[i] * by, b = own[i + 1] * by, c = own[i + 2] * by, d = own[i + 3] * by;
                for (int64_t j = 0; j < deep; j++)
                    sums[j] += a * WIDE(value[j]) + b * WIDE(value[deep + j]) +
                               c * WIDE(value[2 * deep + j]) + d * WIDE(value[3 * deep + j]);
            }
            for (; i < used; i++)
                for (int64_t j = 0; j < deep; j++) sums[j] += own[i] * by * WIDE(values[i * deep + j]);
            for (int64_t j = 0; j < deep; j++) out[j] = NARROW(sums[j]);
        }
}

/* Rows (kinds, count, width) written to their places of another tensor, whose kinds and rows are so
   many numbers apart; those whose place is `nowhere` are dropped. */
void NAMED(put)(const NUMBER *restrict rows, const int64_t *restrict places, int64_t nowhere,
                NUMBER *restrict to, int64_t kinds, int64_t count, int64_t width, int64_t by_kind,
                int64_t by_row) {
    for (int64_t kind = 0; kind < kinds; kind++)
        for (int64_t i = 0; i < count; i++, rows += width)
            if (places[i] != nowhere)
                memcpy(to + kind * by_kind + places[i] * by_row, rows, width * sizeof(NUMBER));
}

/* Likewise, added to rows in float32. */
void NAMED(added)(const NUMBER *restrict rows, const int64_t *restrict places, int64_t nowhere,
                  float *restrict to, int64_t kinds, int64_t count, int64_t width, int64_t by_kind,
                  int64_t by_row) {
    for (int64_t kind = 0; kind < kinds; kind++)
        for (int64_t i = 0; i < count; i++, rows += width) {
            if (places[i] == nowhere) continue;
            float *row = to + kind * by_kind + places[i] * by_row;
            for (int64_t j = 0; j < width; j++) row[j] += WIDE(rows[j]);
        }
}

/* The sum of the cross-entropy of logits (rows, words) at the right words. Where they are to learn, the
   logits become their gradients. `room` has space for one row. */
double NAMED(cross_entropy)(NUMBER *restrict logits, const int64_t *restrict right,
                            float *restrict room, int64_t rows, int64_t words, int64_t learning) {
    double total = 0;
    for (int64_t row = 0; row < rows; row++, logits += words) {
        float most = NAMED(largest)(logits, words), sum = 0;
        SUMS(sum)
        for (int64_t i = 0; i < words; i++) {
            room[i] = EXPONENTIAL(WIDE(logits[i]) - most);
            sum += room[i];
        }
        total += logf(sum) + most - WIDE(logits[right[row]]);
        if (!learning) continue;
        float by = 1.0f / sum;
        room[right[row]] -= sum;
        for (int64_t i = 0; i < words; i++) logits[i] = NARROW(room[i] * by);
    }
    return total;
}

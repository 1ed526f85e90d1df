/* Loss and gradient of SIRENs over pixels, for the fits of training/fit.py. Compiled at first use by training/kernel.py.
 *
 * Why by hand: a SIREN is 28 units wide. A framework spends most of a step in moving 28 x N arrays through memory, in sines and
 * cosines computed apart, and in matrix products made for larger sizes. Here a tile of 256 pixels goes forward through all layers
 * and back again while everything it needs stays in the cache of one core; sine and cosine come from one argument reduction.
 *
 * Arrays are planar: one row a unit, one column a pixel. `vec` is as wide as the machine's registers; the compiler makes the
 * instructions. Each fit is cut into `chunks` whose number does not depend on the number of threads, and their sums are added in
 * order: the same seed gives the same bits with one thread or with eight.
 */
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
enum { LANES = 16, ROWS = 4, COLS = 4 };
#elif defined(__AVX__)
enum { LANES = 8, ROWS = 4, COLS = 2 };
#else
enum { LANES = 4, ROWS = 4, COLS = 2 };
#endif
enum { TILE = 256, NV = TILE / LANES };

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int ivec __attribute__((vector_size(LANES * 4)));

/* sin(x) and cos(x) together: x = n pi/2 + r with |r| <= pi/4 (Cody & Waite, pi/2 in three parts), then the Cephes polynomials;
 * n decides which of the two is which, and the signs. About 1e-7 absolute for |x| < 1e4. */
static inline void sincos_vec(vec x, vec *sine, vec *cosine) {
    const float round_to_int = 12582912.f; /* 1.5 * 2^23: adding it leaves the rounded integer in the low bits */
    vec shifted = x * 0.636619772f + round_to_int;
    ivec quadrant = (ivec)shifted;
    vec n = shifted - round_to_int;
    vec r = x - n * 1.5703125f;
    r = r - n * 4.837512969970703125e-4f;
    r = r - n * 7.54978995489188e-8f;
    vec r2 = r * r;
    vec s = ((-1.9515295891e-4f * r2 + 8.3321608736e-3f) * r2 - 1.6666654611e-1f) * r2 * r + r;
    vec c = ((2.443315711809948e-5f * r2 - 1.388731625493765e-3f) * r2 + 4.166664568298827e-2f) * r2 * r2 - 0.5f * r2 + 1.f;
    ivec odd = -(quadrant & 1);
    ivec s_bits = (odd & (ivec)c) | (~odd & (ivec)s), c_bits = (odd & (ivec)s) | (~odd & (ivec)c);
    *sine = (vec)(s_bits ^ ((quadrant & 2) << 30));
    *cosine = (vec)(c_bits ^ (((quadrant + 1) & 2) << 30));
}

typedef float vec4 __attribute__((vector_size(16)));

static inline float sum(vec a) {
    union { vec whole; vec4 part[LANES / 4]; } u = {a};
    for (int n = LANES / 8; n; n /= 2)
        for (int i = 0; i < n; i++) u.part[i] += u.part[i + n];
    return (u.part[0][0] + u.part[0][2]) + (u.part[0][1] + u.part[0][3]);
}

/* out (n_out, TILE) = w (n_out, n_in) in (n_in, TILE) + b; blocks of ROWS x COLS vectors stay in registers. */
static void affine(vec *restrict out, const float *restrict w, const float *restrict b, const vec *restrict in, int n_out, int n_in) {
    for (int p = 0; p < NV; p += COLS) {
        int o = 0;
        for (; o + ROWS <= n_out; o += ROWS) {
            vec acc[ROWS][COLS];
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < COLS; j++) acc[i][j] = (vec){0} + (b ? b[o + i] : 0.f);
            for (int k = 0; k < n_in; k++)
                for (int i = 0; i < ROWS; i++)
                    for (int j = 0; j < COLS; j++) acc[i][j] += in[k * NV + p + j] * w[(o + i) * n_in + k];
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < COLS; j++) out[(o + i) * NV + p + j] = acc[i][j];
        }
        for (; o < n_out; o++) {
            vec acc[COLS];
            for (int j = 0; j < COLS; j++) acc[j] = (vec){0} + (b ? b[o] : 0.f);
            for (int k = 0; k < n_in; k++)
                for (int j = 0; j < COLS; j++) acc[j] += in[k * NV + p + j] * w[o * n_in + k];
            for (int j = 0; j < COLS; j++) out[o * NV + p + j] = acc[j];
        }
    }
}

/* dw (n_out, n_in) += d (n_out, TILE) in (n_in, TILE)^T;  db (n_out) += row sums of d. */
static void outer(float *restrict dw, float *restrict db, const vec *restrict d, const vec *restrict in, int n_out, int n_in) {
    for (int o = 0; o < n_out; o += ROWS)
        for (int k = 0; k < n_in; k += 4) {
            int rows = n_out - o < ROWS ? n_out - o : ROWS, cols = n_in - k < 4 ? n_in - k : 4;
            if (rows == ROWS && cols == 4) {
                vec acc[ROWS][4] = {{{0}}};
                for (int p = 0; p < NV; p++)
                    for (int i = 0; i < ROWS; i++)
                        for (int j = 0; j < 4; j++) acc[i][j] += d[(o + i) * NV + p] * in[(k + j) * NV + p];
                for (int i = 0; i < ROWS; i++)
                    for (int j = 0; j < 4; j++) dw[(o + i) * n_in + k + j] += sum(acc[i][j]);
            } else {
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < cols; j++) {
                        vec acc = {0};
                        for (int p = 0; p < NV; p++) acc += d[(o + i) * NV + p] * in[(k + j) * NV + p];
                        dw[(o + i) * n_in + k + j] += sum(acc);
                    }
            }
        }
    for (int o = 0; o < n_out; o++) {
        vec acc = {0};
        for (int p = 0; p < NV; p++) acc += d[o * NV + p];
        db[o] += sum(acc);
    }
}

static void load(vec *tile, const float *rows, long stride, int n_rows, int pixels) {
    for (int k = 0; k < n_rows; k++) {
        if (pixels < TILE) memset(tile + k * NV, 0, TILE * sizeof(float));
        memcpy(tile + k * NV, rows + k * stride, pixels * sizeof(float));
    }
}

typedef struct { int depth, width, n_in, n_out; long n_parameters; } net_t;

/* Pixels first .. last of one fit. `theta` holds W (out, in), b (out) layer by layer, with w0 multiplied into the sine layers;
 * `theta_t` the same with every W transposed. Adds to `gradient` if it is not null, writes colours if `colours` is not null;
 * returns the sum of squared errors (0 without targets). */
static double pass(net_t net, const float *theta, const float *theta_t, const float *x, long x_stride, const float *y, long y_stride,
                   float *colours, long colours_stride, long first, long last, float scale, float *gradient, vec *memory) {
    const int width = net.width, depth = net.depth;
    const long layer = (long)width * NV, wide = (long)(width > net.n_out ? width : net.n_out) * NV;
    vec *sines = memory, *cosines = sines + depth * layer, *d = cosines + depth * layer, *d_below = d + wide;
    vec *input = d_below + wide, *target = input + (long)net.n_in * NV;
    double error = 0;
    for (long t = first; t < last; t += TILE) {
        const int pixels = last - t < TILE ? (int)(last - t) : TILE;
        load(input, x + t, x_stride, net.n_in, pixels);

        const float *w = theta;
        const vec *h = input;
        int n_in = net.n_in;
        for (int l = 0; l < depth; l++) { /* h = sin(W h + b); the cosines are kept for the way back */
            vec *s = sines + l * layer, *c = cosines + l * layer;
            affine(s, w, w + (long)width * n_in, h, width, n_in);
            for (long i = 0; i < layer; i++) sincos_vec(s[i], &s[i], &c[i]);
            w += (long)width * n_in + width;
            h = s;
            n_in = width;
        }
        affine(d, w, w + (long)net.n_out * n_in, h, net.n_out, n_in);
        if (colours)
            for (int k = 0; k < net.n_out; k++) memcpy(colours + k * colours_stride + t, d + k * NV, pixels * sizeof(float));
        if (!y) continue;

        load(target, y + t, y_stride, net.n_out, pixels);
        for (int i = 0; i < net.n_out * NV; i++) {
            vec e = d[i] - target[i];
            for (int j = 0; j < LANES && pixels < TILE; j++)
                if ((i % NV) * LANES + j >= pixels) e[j] = 0; /* lanes beyond the last pixel weigh nothing */
            error += sum(e * e);
            d[i] = e * scale;
        }
        int n_out = net.n_out;
        vec *above = d, *below = d_below;
        for (int l = depth; l >= 0; l--) {
            const long at = w - theta;
            n_in = l ? width : net.n_in;
            outer(gradient + at, gradient + at + (long)n_out * n_in, above, l ? sines + (l - 1) * layer : input, n_out, n_in);
            if (!l) break;
            affine(below, theta_t + at, 0, above, width, n_out); /* W^T d, then through the sine */
            for (long i = 0; i < layer; i++) below[i] *= cosines[(l - 1) * layer + i];
            vec *swap = above;
            above = below;
            below = swap;
            n_out = width;
            w -= (long)width * (l > 1 ? width : net.n_in) + width;
        }
    }
    return error;
}

static void transpose(net_t net, const float *theta, float *theta_t) {
    for (int l = 0; l <= net.depth; l++) {
        const int n_in = l ? net.width : net.n_in, n_out = l < net.depth ? net.width : net.n_out;
        for (int o = 0; o < n_out; o++)
            for (int k = 0; k < n_in; k++) theta_t[k * n_out + o] = theta[o * n_in + k];
        theta += n_out * n_in + n_out;
        theta_t += n_out * n_in + n_out;
    }
}

/* All fits. theta, gradient: (fits, n_parameters); x[f], y[f], colours[f]: rows of pixels with their strides; error: (fits).
 * y null: only colours are made. Returns 0, or 1 if memory ran out. */
int siren(int fits, int depth, int width, int n_in, int n_out, long n_parameters, const float *theta, const float **x,
          const long *x_stride, const float **y, const long *y_stride, float **colours, const long *colours_stride, long pixels,
          float scale, float *gradient, double *error, int chunks, int threads) {
    const net_t net = {depth, width, n_in, n_out, n_parameters};
    const long tiles = (pixels + TILE - 1) / TILE, wide = width > n_out ? width : n_out;
    const size_t memory = sizeof(vec) * NV * (2 * (size_t)depth * width + 2 * wide + n_in + n_out);
    float *theta_t = malloc(sizeof(float) * fits * n_parameters);
    float *partial = calloc(y ? (size_t)fits * chunks * n_parameters : 1, sizeof(float));
    double *errors = calloc((size_t)fits * chunks, sizeof(double));
    int failed = !theta_t || !partial || !errors;
    for (int f = 0; f < fits && !failed; f++) transpose(net, theta + f * n_parameters, theta_t + f * n_parameters);
    #pragma omp parallel num_threads(threads)
    {
        vec *own = failed ? 0 : aligned_alloc(64, (memory + 63) / 64 * 64);
        #pragma omp for schedule(static)
        for (int j = 0; j < fits * chunks; j++) {
            const int f = j / chunks, c = j % chunks;
            long first = tiles * c / chunks * TILE, last = tiles * (c + 1) / chunks * TILE;
            if (last > pixels) last = pixels;
            if (!own) failed = 1;
            else if (first < last)
                errors[j] = pass(net, theta + f * n_parameters, theta_t + f * n_parameters, x[f], x_stride[f], y ? y[f] : 0,
                                 y ? y_stride[f] : 0, colours ? colours[f] : 0, colours ? colours_stride[f] : 0, first, last, scale,
                                 y ? partial + j * n_parameters : 0, own);
        }
        free(own);
    }
    for (int f = 0; f < fits && y && !failed; f++) {
        error[f] = 0;
        memset(gradient + f * n_parameters, 0, sizeof(float) * n_parameters);
        for (int c = 0; c < chunks; c++) {
            error[f] += errors[f * chunks + c];
            const float *part = partial + ((long)f * chunks + c) * n_parameters;
            for (long i = 0; i < n_parameters; i++) gradient[f * n_parameters + i] += part[i];
        }
    }
    free(theta_t);
    free(partial);
    free(errors);
    return failed;
}

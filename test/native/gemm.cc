// Matrix products of every format on every instruction-set path: right against double arithmetic, and promise 3 bit by
// bit.
#include "check.h"
#include "cpu/isa.h"
#include "gemm_rig.h"
#include "quant/float_codecs.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

std::vector<Isa> isas() {
  std::vector<Isa> available;
  for (Isa isa : kIsas)
    if (isaAvailable(isa)) available.push_back(isa);
  return available;
}

/// Block formats of files need whole blocks of columns.
int64_t allowedCols(Format format, int64_t cols) { return fileTypeOf(format) == FileType::f32 ? cols : cols / 32 * 32; }

void testAgainstDouble() {
  std::mt19937 random(1);
  ThreadPool threads(2);
  for (Format format : kFormats)
    for (const auto& [rows, wanted] :
         {std::pair<int64_t, int64_t>{48, 576}, {37, 200}, {16, 32}, {5, 33}, {64, 1536}}) {
      const int64_t cols = allowedCols(format, wanted);
      Packed w = randomPacked(random, threads, format, rows, cols);
      for (int count : {1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 48}) {
        const auto in = randomRows(random, count, cols);
        const Exact exact = exactProduct(w, in.data(), count);
        for (Isa isa : isas()) {
          const bool halves = isa == Isa::avx512fp16 && format == Format::fp8;
          const auto got = multiplied(kernels(isa), w, in.data(), count);
          const double error = worstError(halves ? exactProduct(w, in.data(), count, false) : exact, got);
          const double bound = halves ? kHalfError : 2e-6;
          CHECK(error < bound);
          if (error >= bound)
            std::printf("  %s %s %ldx%ld rows %d: %g\n", name(isa), std::string(name(format)).c_str(), (long)rows,
                        (long)cols, count, error);
        }
      }
    }
}

/// Every row of any batch, at any place, on any number of threads, has the bits of that row alone.
void testRowsDoNotDependOnNeighbours() {
  std::mt19937 random(2);
  ThreadPool threads(2);
  for (Format format : kFormats) {
    const int64_t cols = allowedCols(format, 224), rows = 70;
    Packed w = randomPacked(random, threads, format, rows, cols);
    const auto pool = randomRows(random, 300, cols);
    const auto norm = randomRows(random, 1, cols);
    const Call call{norm.data(), 1e-5f, Epilogue::store};
    for (Isa isa : isas()) {
      std::vector<std::vector<float>> alone;
      for (int r = 0; r < 300; ++r) alone.push_back(multiplied(kernels(isa), w, pool.data() + r * cols, 1, call));
      for (int count = 1; count <= 300; count += count < 40 ? 1 : 37) {
        std::vector<int> chosen(count);
        std::vector<float> in;
        for (int& r : chosen) {
          r = static_cast<int>(random() % 300);
          in.insert(in.end(), pool.begin() + r * cols, pool.begin() + (r + 1) * cols);
        }
        const auto together = multiplied(kernels(isa), w, in.data(), count, call, 1 + count % 4);
        bool equal = true;
        for (int i = 0; i < count; ++i)
          equal = equal && std::memcmp(together.data() + i * rows, alone[chosen[i]].data(), rows * sizeof(float)) == 0;
        CHECK(equal);
        if (!equal)
          std::printf("  %s %s: a row among %d differs\n", name(isa), std::string(name(format)).c_str(), count);
      }
    }
  }
}

void testPathsAgree() {
  std::mt19937 random(3);
  ThreadPool threads(1);
  for (Format format : kFormats) {
    const int64_t cols = allowedCols(format, 330), rows = 52;
    Packed w = randomPacked(random, threads, format, rows, cols);
    const auto in = randomRows(random, 37, cols), norm = randomRows(random, 1, cols);
    for (int count : {1, 3, 6, 8, 11, 16, 20, 37})
      for (Epilogue epilogue : {Epilogue::store, Epilogue::add, Epilogue::swiglu, Epilogue::geglu}) {
        const Call call{norm.data(), 1e-6f, epilogue};
        const auto portable = multiplied(kernels(Isa::portable), w, in.data(), count, call);
        for (Isa isa : {Isa::neon, Isa::avx2})
          if (isaAvailable(isa)) CHECK(same(portable, multiplied(kernels(isa), w, in.data(), count, call)));
        if (format != Format::bf16 && format != Format::fp8)
          for (Isa isa : {Isa::avx512, Isa::avx512fp16, Isa::amx})
            if (isaAvailable(isa)) CHECK(same(portable, multiplied(kernels(isa), w, in.data(), count, call)));
      }
  }
}

/// Scales of mxfp4 reach far beyond those of the other integer formats.
void testLargeScales() {
  ThreadPool threads(1);
  const int64_t rows = 16, cols = 64;
  std::vector<float> values(rows * cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::ldexp(static_cast<float>(i % 13) - 6.0f, 110);
  Packed w{Format::mxfp4, rows, cols, Bytes(Layout(Format::mxfp4, rows, cols).bytes())};
  const MatrixSource matrix{FileType::f32, values.data(), rows, cols};
  packMatrix(threads, Format::mxfp4, {&matrix, 1}, false, w.bytes.data());
  std::mt19937 random(7);
  const auto in = randomRows(random, 3, cols);
  const Exact exact = exactProduct(w, in.data(), 3);
  for (Isa isa : isas()) CHECK(worstError(exact, multiplied(kernels(isa), w, in.data(), 3)) < 1e-6);
}

/// Every fp8 code, the smallest, which are no normal numbers, among them: the greatest makes the row's scale 1.
void testAllFp8Codes() {
  ThreadPool threads(1);
  const int64_t rows = 32, cols = 256;
  std::vector<float> values(rows * cols);
  for (int64_t i = 0; i < rows * cols; ++i) {
    const int code = static_cast<int>((i % cols * 7 + i / cols) % 256);
    values[i] = (code & 0x7f) == 0x7f ? 448.0f : e4m3ToFloat(static_cast<uint8_t>(code));
  }
  Packed w{Format::fp8, rows, cols, Bytes(Layout(Format::fp8, rows, cols).bytes())};
  const MatrixSource matrix{FileType::f32, values.data(), rows, cols};
  packMatrix(threads, Format::fp8, {&matrix, 1}, false, w.bytes.data());
  std::vector<float> in(cols);
  for (Isa isa : isas())
    for (int64_t k = 0; k < cols; ++k) {  // one column alone, so that no other hides it
      std::fill(in.begin(), in.end(), 0.0f);
      in[k] = 1.0f;
      const auto got = multiplied(kernels(isa), w, in.data(), 1);
      bool equal = true;
      for (int64_t r = 0; r < rows; ++r) equal = equal && got[r] == values[r * cols + k];
      CHECK(equal);
    }
}

/// The largest codes and inputs there are: no sum may overflow.
void testExtremes() {
  ThreadPool threads(1);
  for (Format format : {Format::q8_0, Format::q4_0, Format::q4_1, Format::nvfp4, Format::mxfp4})
    for (int fill : {0x00, 0x0f, 0x7f, 0x80, 0xf0, 0xff, 0x77, 0x88}) {
      const int64_t rows = 16, cols = 96;
      const FileType type = fileTypeOf(format);
      const BlockShape shape = blockShape(type);
      std::vector<uint8_t> source(rows * cols / shape.elements * shape.bytes, static_cast<uint8_t>(fill));
      if (type == FileType::f32) {
        const float value = fill < 0x80 ? 6.0f : -6.0f;
        for (size_t i = 0; i < source.size(); i += 4) std::memcpy(source.data() + i, &value, 4);
      } else {
        for (size_t block = 0; block < source.size(); block += shape.bytes)
          for (int scale = 0; scale < (type == FileType::q4_1 ? 2 : 1); ++scale) {
            source[block + 2 * scale] = 0;
            source[block + 2 * scale + 1] = 0x3c;
          }
      }
      Packed w{format, rows, cols, Bytes(Layout(format, rows, cols).bytes())};
      const MatrixSource matrix{type, source.data(), rows, cols};
      packMatrix(threads, format, {&matrix, 1}, false, w.bytes.data());
      for (int sign : {1, -1, 0}) {
        std::vector<float> in(9 * cols);
        for (size_t i = 0; i < in.size(); ++i) in[i] = sign ? sign * 1.0f : (i % 3 ? 1.0f : -1.0f);
        const Exact exact = exactProduct(w, in.data(), 9);
        for (Isa isa : isas()) CHECK(worstError(exact, multiplied(kernels(isa), w, in.data(), 9)) < 1e-6);
      }
    }
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }

void testEpilogues() {
  std::mt19937 random(4);
  ThreadPool threads(1);
  Packed w = randomPacked(random, threads, Format::f32, 44, 64);
  const auto in = randomRows(random, 6, 64);
  for (Isa isa : isas()) {
    const auto plain = multiplied(kernels(isa), w, in.data(), 6);
    std::vector<float> added(plain.size(), 2.5f);
    multiplyRows(kernels(isa), w, in.data(), 6, {nullptr, 0, Epilogue::add}, 1, added);
    bool sums = true;
    for (size_t i = 0; i < plain.size(); ++i) sums = sums && added[i] == 2.5f + plain[i];
    CHECK(sums);
    for (const Epilogue epilogue : {Epilogue::swiglu, Epilogue::geglu}) {
      const auto gated = multiplied(kernels(isa), w, in.data(), 6, {nullptr, 0, epilogue});
      double worst = 0;
      for (size_t i = 0; i < gated.size(); ++i) {
        const double gate = plain[2 * i], up = plain[2 * i + 1];
        const double exact = (epilogue == Epilogue::swiglu ? silu(gate) : gelu(gate)) * up;
        worst = std::max(worst, std::abs(gated[i] - exact) / (std::abs(gate * up) + 1e-9));
      }
      CHECK(worst < 1e-6);
    }
  }
}

void testNorm() {
  std::mt19937 random(5);
  ThreadPool threads(1);
  for (int64_t cols : {576, 70, 8}) {
    // An identity matrix shows the normalised row itself.
    std::vector<float> identity(cols * cols);
    for (int64_t i = 0; i < cols; ++i) identity[i * cols + i] = 1;
    Packed w{Format::f32, cols, cols, Bytes(Layout(Format::f32, cols, cols).bytes())};
    const MatrixSource matrix{FileType::f32, identity.data(), cols, cols};
    packMatrix(threads, Format::f32, {&matrix, 1}, false, w.bytes.data());
    const auto in = randomRows(random, 1, cols), norm = randomRows(random, 1, cols);
    double squares = 0;
    for (int64_t k = 0; k < cols; ++k) squares += double(in[k]) * in[k];
    for (Isa isa : isas()) {
      const auto got = multiplied(kernels(isa), w, in.data(), 1, {norm.data(), 1e-5f, Epilogue::store});
      double worst = 0;
      for (int64_t k = 0; k < cols; ++k)
        worst = std::max(worst, std::abs(got[k] - in[k] / std::sqrt(squares / cols + 1e-5) * norm[k]));
      CHECK(worst < 2e-6);
    }
  }
}

void testStackedSources() {
  std::mt19937 random(6);
  ThreadPool threads(3);
  for (Format format : kFormats) {
    const int64_t cols = 96, rows = 20;
    const FileType type = fileTypeOf(format);
    const auto first = randomSource(random, type, rows, cols), second = randomSource(random, type, rows, cols);
    const MatrixSource both[] = {{type, first.data(), rows, cols}, {type, second.data(), rows, cols}};
    Bytes stacked(Layout(format, 2 * rows, cols).bytes()), interleaved(Layout(format, 2 * rows, cols).bytes());
    packMatrix(threads, format, both, false, stacked.data());
    packMatrix(threads, format, both, true, interleaved.data());
    std::vector<float> a(cols), b(cols);
    bool equal = true;
    for (int64_t r = 0; r < 2 * rows; ++r) {
      unpackRow(format, 2 * rows, cols, stacked.data(), r, a.data());
      unpackRow(format, 2 * rows, cols, interleaved.data(), r < rows ? 2 * r : 2 * (r - rows) + 1, b.data());
      equal = equal && a == b;
      // Block formats keep the file's weights exactly.
      if (type == FileType::f32 && format != Format::f32) continue;
      const BlockShape shape = blockShape(type);
      dequantize(type, (r < rows ? first : second).data() + r % rows * (cols / shape.elements * shape.bytes), b.data(),
                 cols);
      equal = equal && a == b;
    }
    CHECK(equal);
  }
}

/// e4m3 with a scale for each row stays as it is in fp8, however little of its range a row uses.
void testScaledSources() {
  std::mt19937 random(7);
  ThreadPool threads(3);
  const int64_t cols = 100, rows = 20;
  std::vector<uint8_t> codes(rows * cols);
  std::vector<float> scales(rows);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() % 0x40 | random() % 2 << 7);
  for (float& scale : scales) scale = std::uniform_real_distribution<float>(1e-4f, 3.0f)(random);
  const MatrixSource source{FileType::e4m3, codes.data(), rows, cols, scales.data()};
  for (const Format format : {Format::f32, Format::bf16, Format::fp8}) {
    Bytes packed(Layout(format, rows, cols).bytes());
    packMatrix(threads, format, {&source, 1}, false, packed.data());
    std::vector<float> got(cols);
    bool equal = true;
    for (int64_t r = 0; r < rows; ++r) {
      unpackRow(format, rows, cols, packed.data(), r, got.data());
      for (int64_t k = 0; k < cols; ++k) {
        const float weight = e4m3ToFloat(codes[r * cols + k]) * scales[r];
        equal = equal && got[k] == (format == Format::bf16 ? bf16ToFloat(floatToBf16(weight)) : weight);
      }
    }
    CHECK(equal);
  }
}

}  // namespace

int main() {
  testAgainstDouble();
  testRowsDoNotDependOnNeighbours();
  testPathsAgree();
  testLargeScales();
  testAllFp8Codes();
  testExtremes();
  testEpilogues();
  testNorm();
  testStackedSources();
  testScaledSources();
  return finish("gemm");
}

// The runtime beside ONNX Runtime, on one thread: times, shares of the core's peak, the way from a file to the first inference,
// and agreement on models that people ship.
#include "load_tests/runtime/section.h"

int main(int argc, char** argv) {
  using namespace edgefleet::load_tests;
  return BenchMain("runtime", "The runtime beside ONNX Runtime, on one thread.",
                   {{"peaks", PeaksSection},
                    {"mobilenet", MobileNetSection},
                    {"fedavg-cnn", FedAvgCnnSection},
                    {"2nn", FedAvg2nnSection},
                    {"gemm", GemmSection},
                    {"cold-open", ColdOpenSection},
                    {"real-models", RealModelsSection}},
                   argc, argv);
}

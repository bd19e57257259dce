# Every library comes from the system packages in deploy/packages.txt; nothing is fetched.

# What the device library needs, and the build itself.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
pkg_check_modules(sodium REQUIRED IMPORTED_TARGET libsodium)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(flatbuffers REQUIRED IMPORTED_TARGET flatbuffers)
find_program(FLATC flatc REQUIRED)

# Debian's dnnl-config.cmake insists on OpenCL's development files, which only oneDNN's GPU interface needs.
# libdnnl-dev cannot be installed for two architectures at once; its headers differ in the GPU interface only.
find_library(DNNL_LIBRARY NAMES dnnl libdnnl.so.2 REQUIRED)
add_library(dnnl INTERFACE IMPORTED)
target_link_libraries(dnnl INTERFACE "${DNNL_LIBRARY}")

if(EDGEFLEET_DEVICE_ONLY)
  return()
endif()

find_package(GTest REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(yaml-cpp CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(spdlog CONFIG REQUIRED)
pkg_check_modules(hiredis REQUIRED IMPORTED_TARGET hiredis)
pkg_check_modules(pqxx REQUIRED IMPORTED_TARGET libpqxx)
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip)
find_path(KISSFFT_INCLUDE_DIR kissfft/kissfft.hh REQUIRED)  # a template; Debian's library is for float only and not linked

# ONNX's protobuf messages as Debian builds them: they share libprotobuf with gRPC, and register onnx-ml.proto once a process.
find_library(ONNX_PROTO_LIBRARY onnx_proto REQUIRED)
add_library(onnx_proto INTERFACE IMPORTED)
target_link_libraries(onnx_proto INTERFACE "${ONNX_PROTO_LIBRARY}" protobuf::libprotobuf)
target_compile_definitions(onnx_proto INTERFACE ONNX_ML=1 ONNX_NAMESPACE=onnx)

{
  'targets': [{
    # The build itself is CMakeLists.txt; gyp only calls it when no prebuild fits.
    'target_name': 'foretoken_cmake',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake_js_build',
      'inputs': ['CMakeLists.txt'],
      'outputs': ['<(PRODUCT_DIR)/foretoken.node'],
      'action': ['node', 'scripts/cmake.js']
    }]
  }]
}

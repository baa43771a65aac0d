# embed - every file of a folder as C arrays, with a table of them (gateway/web.h).
#
#   cmake -DFOLDER=gateway/web -DOUT=build/web.c -P scripts/embed.cmake
#
# The ETag is the digest of the bytes, so a browser asks again only for what has changed.
#
# The client library is one file to those who download it, though it is written as several: /client.js
# is client_types.js, client_base.js, all client_*.js, client_core.js and client.js, one after another,
# without the imports and exports between them, of types as well. So their top-level names must
# differ; tests import the result and check its types.
cmake_minimum_required(VERSION 3.25)

set(type_html "text/html; charset=utf-8")
set(type_css "text/css; charset=utf-8")
set(type_js "text/javascript; charset=utf-8")
set(type_mjs "text/javascript; charset=utf-8")
set(type_json "application/json")
set(type_webmanifest "application/manifest+json")
set(type_svg "image/svg+xml")
set(type_png "image/png")
set(type_ico "image/x-icon")
set(type_woff2 "font/woff2")
set(type_txt "text/plain; charset=utf-8")

# bundle(OUT MODULE...): the modules as one.
function(bundle out)
    set(text "")
    foreach(module IN LISTS ARGN)
        file(READ ${FOLDER}/${module}.js source)
        string(REGEX REPLACE "\nimport [^\;]*\;" "" source "${source}")
        string(REGEX REPLACE "\n/\\*\\* @typedef {import\\('[^\n]*" "" source "${source}")
        string(REGEX REPLACE "import\\('\\./client_[a-z]+\\.js'\\)\\." "" source "${source}")
        if(NOT module STREQUAL "client")
            string(REGEX REPLACE "\nexport (async |class |const |function )" "\n\\1" source "${source}")
        endif()
        string(APPEND text "${source}\n")
    endforeach()
    file(WRITE ${out} "${text}")
endfunction()

file(GLOB parts RELATIVE ${FOLDER} ${FOLDER}/client_*.js)
list(TRANSFORM parts REPLACE "\\.js$" "")
list(REMOVE_ITEM parts client_base client_core client_types)
bundle(${OUT}.client.js client_types client_base ${parts} client_core client)

file(GLOB paths LIST_DIRECTORIES false ${FOLDER}/*)
set(arrays "")
set(rows "")
set(count 0)
foreach(path IN LISTS paths)
    get_filename_component(name ${path} NAME)
    if(name MATCHES "\\.md$" OR NOT name MATCHES "^[A-Za-z0-9][A-Za-z0-9._-]*$")
        continue() # The folder's README, an editor's backup.
    endif()
    if(name MATCHES "^client_")
        continue() # Within client.js.
    elseif(name STREQUAL "client.js")
        set(path ${OUT}.client.js)
    endif()
    string(REGEX MATCH "[A-Za-z0-9]*$" extension ${name})
    set(type "application/octet-stream")
    if(DEFINED type_${extension})
        set(type "${type_${extension}}")
    endif()
    file(READ ${path} hex HEX)
    string(LENGTH "${hex}" digits)
    math(EXPR size "${digits} / 2")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
    file(SHA256 ${path} digest)
    string(SUBSTRING ${digest} 0 16 digest)
    # One byte more than the size: an empty file would be an array of nothing.
    string(APPEND arrays "static const uint8_t bytes_${count}[] = {${bytes}0};\n")
    string(APPEND rows "    {\"${name}\", \"${type}\", \"\\\"${digest}\\\"\", bytes_${count}, ${size}},\n")
    math(EXPR count "${count} + 1")
endforeach()

file(WRITE ${OUT} "/* Made by scripts/embed.cmake. */
#include \"gateway/web.h\"

${arrays}
const struct web_file web_files[] = {
${rows}    {0},
};
const size_t web_file_count = ${count};
")

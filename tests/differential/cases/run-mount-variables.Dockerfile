FROM registry.test/base
ARG t=/vt
ENV src=src
RUN --mount=type=bind,target=$t,source=$src ls $t > /1
RUN --mount=type=cache,target=${t}c,id=${src}id touch ${t}c/x

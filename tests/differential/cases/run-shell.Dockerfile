FROM registry.test/base
RUN echo a > /a; pwd > /pwd; id > /id; umask > /umask; echo $0 > /zero
RUN ["/bin/sh", "-c", "echo exec > /exec"]
RUN set -e; \
  # comment
  echo one > /one; \

  echo two > /two

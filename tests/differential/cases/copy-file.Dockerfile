FROM registry.test/base
COPY a.txt /x
COPY a.txt /dir/
COPY a.txt /deep/er/name
COPY b.txt run.sh /both/

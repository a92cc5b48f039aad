FROM registry.test/rich
CMD echo "a b" | cat

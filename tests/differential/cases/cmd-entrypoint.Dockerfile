FROM registry.test/rich
ENTRYPOINT ["/e", "a"]
CMD ["c"]

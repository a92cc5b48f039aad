FROM registry.test/base
HEALTHCHECK --interval=5s --timeout=1m30s --start-period=100ms --start-interval=2s --retries=4 CMD wget -q x || exit 1

FROM registry.test/base
RUN echo "a  b" 'c $HOME' \"d\" > /1
CMD ["a\"b", "c\\d", "<&>"]
LABEL q="a\"b<&>"
ENV N="new\nline"

# options: --build-arg HTTP_PROXY=http://proxy.example --build-arg NO_PROXY=none.example
FROM registry.test/base
RUN echo $HTTP_PROXY $http_proxy > /1
ARG NO_PROXY
RUN echo $NO_PROXY > /2

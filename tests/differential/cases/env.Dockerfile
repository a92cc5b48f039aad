FROM registry.test/base
ENV one 1 and more
ENV A=a B=b\ c D="q \"x\"" E='s'
ENV A=again Z=$A
ENV X=${UNSET:-def} Y=${A:+alt} W=${UNSET-} V=${A%gain}

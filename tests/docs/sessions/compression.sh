# Compressors for a small network of one's own: calibrated, trained, evaluated; and a filter on its features.
anew compression
cp "$ROOT/tests/docs/sessions/networks.py" .
python networks.py photos 44
for name in train test other-photos; do cp -r photos $name; done
python -c "import numpy; numpy.save('test.npy', numpy.zeros(44, numpy.int64))"
shown compression.md 'model = "networks:resnet"' >resnet.toml

isthmus train calibrated networks:resnet --items photos/ --cut layer2 --output resnet.bundle
rm -r resnet.bundle
isthmus train calibrated networks:resnet --items photos/ --cut layer2 --cut layer3 --output resnet.bundle
isthmus evaluate resnet.bundle --items other-photos/
isthmus evaluate resnet.bundle --items other-photos/ --record
isthmus profile resnet.bundle --seconds 2 --output pi4.json
isthmus plan resnet.bundle --device pi4.json --link "10Mbit 40ms"
isthmus evaluate resnet.bundle --items test/ --labels test.npy
isthmus evaluate resnet.bundle --items test/ --model networks:resnet --tune train/ --risk 0.02
isthmus evaluate resnet.bundle --items test/ --model networks:resnet --tune train/ --small networks:tiny --risk 0.02
mv resnet.bundle my.bundle
isthmus evaluate my.bundle --items photos/ --leakage 2000
isthmus evaluate my.bundle --items photos/ --risk 0.02

isthmus train resnet.toml
rm -r resnet.bundle
isthmus train resnet.toml --method entropic --set training.steps=4000

digits_bundle digits.bundle
cp -r "$ROOT/compose/frames" pictures
isthmus evaluate digits.bundle --items pictures/ --page curves.html
rm -r my.bundle && digits_bundle my.bundle
python networks.py frames/car 110
python networks.py frames/empty 30 dark
isthmus filter my.bundle --something frames/car --nothing frames/empty --output car-park.filter

# Networks of one's own and of torchvision: cut, planned, exported, timed and drawn.
anew models
cp "$ROOT/tests/docs/sessions/networks.py" .
mkdir isthmus && ln -s "$ROOT/isthmus/builtin" isthmus/builtin
python networks.py photos 20

isthmus cuts torchvision.models:mobilenet_v2 --input 1x3x224x224 --narrow
isthmus export torchvision.models:mobilenet_v2 --input 1x3x224x224 -o mobilenet.bundle
isthmus profile mobilenet.bundle --watts 4 --output pi4.json
isthmus plan torchvision.models:mobilenet_v2 --input 1x3x224x224 --device pi4.json --link "10Mbit 40ms"
isthmus plan isthmus/builtin/digits.bundle --device 20 --link "1Mbit 30ms" --accuracy 0.97
isthmus inspect torchvision.models:resnet18 --input 1x3x224x224 --link "10Mbit 40ms" --device 20
isthmus inspect isthmus/builtin/digits.bundle --output digits.html
isthmus export networks:photo --input uint8:1x224x224x3 --cut features.13 --head int8 --samples photos/
isthmus export networks:photo --input uint8:1x224x224x3 --cut features.13 --head int8 --samples photos/ -o small.bundle

cp -r isthmus/builtin/digits.bundle my.bundle
isthmus plan my.bundle --device pi4.json --link "1Mbit 30ms" --accuracy 0.95 --deadline-ms 100 --json
isthmus export networks:resnet --input 1x3x224x224 -o resnet.bundle
isthmus profile resnet.bundle --watts 4 -o pi4.json
